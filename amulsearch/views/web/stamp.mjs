// Writes the digest of the sources before the bundles, so that a test without npm can tell whether they are up to date.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";

const digest = createHash("sha256");
for (const name of readdirSync("src").filter((name) => name.endsWith(".ts")).sort()) digest.update(readFileSync(`src/${name}`));
const stamp = digest.digest("hex");
for (const name of ["../answers.js", "../explorer.js"])
  writeFileSync(name, `/* ${stamp} */ ${readFileSync(name, "utf8")}`);
