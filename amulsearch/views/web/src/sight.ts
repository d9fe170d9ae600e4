// What the page finds for pictures that are not in it: a worker runs the network, and its vectors are compared here.

import script from "../build/network.worker";
import { bytes } from "./data";
import { element } from "./dom";
import type { Network, Pooled } from "./network";

const ARRAYS = ["low", "step", "mean", "axes", "spacing"] as const; // of float32; mean and axes: of a PCA, or empty

export type WrittenComparison = Record<(typeof ARRAYS)[number] | "codes", string> & {
  pooling: keyof Pooled;
  odds: [number, number] | null; // slope and intercept
};

/** A person's own picture. */
export type Own = { url: string; pooled: Pooled };

export class Sight {
  private readonly worker = new Worker(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
  private readonly failed = new Promise<never>((_, fail) => (this.worker.onerror = fail));

  constructor(private readonly network: Network<string>) {
    this.worker.postMessage({ ...network, weights: bytes(network.weights) });
  }

  /** See a picture; an error says in a sentence what to do. */
  async see(file: File): Promise<Own> {
    const wrong = (why: string) => () => Promise.reject(new Error(`${file.name} ${why}`)), { most } = this.network;
    const kind = file.type.startsWith("video/") ? "is a video: save a still from it" : "is damaged, or of a kind that this browser cannot open: save it";
    const unreadable = wrong(`${kind} as JPEG or PNG.`), url = URL.createObjectURL(file), image = element("img", { src: url });
    await new Promise((loaded, failed) => Object.assign(image, { onload: loaded, onerror: failed })).catch(unreadable);
    const millions = (image.naturalWidth * image.naturalHeight) / 1e6; // the header says them, before anything is decoded
    if (millions > most / 1e6) await wrong(`has ${Math.round(millions)} megapixels, over the limit of ${Math.round(most / 1e6)}: save it smaller.`)();
    const bitmap = await createImageBitmap(file).catch(unreadable), { port1, port2 } = new MessageChannel();
    this.worker.postMessage(bitmap, [bitmap, port2]);
    const answer = new Promise<Pooled>((done) => (port1.onmessage = ({ data }) => done(data)));
    const blind = wrong("cannot be searched with, because this browser does not run the network: open the page in another one.");
    return { url, pooled: await Promise.race([answer, this.failed]).catch(blind) };
  }
}

const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, at) => sum + value * b[at], 0);

const norm = (a: Float32Array) => Math.sqrt(dot(a, a)) || 1;

const cosine = (a: Float32Array, b: Float32Array) => dot(a, b) / (norm(a) * norm(b));

/** The vectors of a system in 8 bits, and what their distances mean. */
export class Comparison {
  private readonly codes = new Uint8Array(bytes(this.written.codes)); // row i, dimension d: low[d] + step[d] * codes[i * width + d]
  private readonly arrays = Object.fromEntries(ARRAYS.map((name) => [name, new Float32Array(bytes(this.written[name]))]));

  constructor(private readonly written: WrittenComparison) {}

  /** The distances of all pictures from a new one. */
  distances(pooled: Pooled): number[] {
    const { low, step, mean, axes } = this.arrays, width = step.length, seen = pooled[this.written.pooling], length = norm(seen);
    const centred = seen.map((value, at) => value / length - mean[at]);
    const query = axes.length ? step.map((_, row) => dot(centred, axes.subarray(row * mean.length))) : seen;
    return Array.from({ length: this.codes.length / width }, (_, row) => {
      const vector = step.map((one, at) => low[at] + one * this.codes[row * width + at]);
      return Math.sqrt(Math.max(2 - 2 * cosine(query, vector), 0));
    });
  }

  /** The probability in per cent that a picture at this distance is relevant (index/probability.py). */
  likely(distance: number): number | null {
    const { odds } = this.written, similar = Math.max(1 - distance ** 2 / 2, 0);
    return odds && Math.round(100 / (1 + Math.exp(-odds[0] * Math.log((similar + 0.01) / (1.01 - similar)) - odds[1])));
  }

  /** Whether a picture whose nearest is at this distance is like the collection, in a sentence (systems/novelty.py). */
  novelty(nearest: number): string {
    const { spacing } = this.arrays, share = (1 + spacing.filter((far) => far >= nearest).length) / (1 + spacing.length);
    if (spacing.length < 19) return "";
    const often = `${(100 * share).toFixed(share > 0.05 ? 0 : 1)}% of the collection's pictures are as far from all others.`;
    return `${share > 0.05 ? "Not unlike the collection" : "Nothing here is likely to fit"}: ${often}`;
  }
}
