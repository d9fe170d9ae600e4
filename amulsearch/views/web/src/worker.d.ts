// The script of the worker, which the build makes of network.ts, as text.
declare module "*.worker" { const script: string; export default script; }
