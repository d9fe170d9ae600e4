// What the page finds for pictures that are not in it: a worker runs the network, and its vectors are compared here.

import script from "../build/network.worker";
import { bytes } from "./data";
import type { Pooled } from "./network";

/** What Python writes (seeing.py). */
export interface WrittenNetwork {
  weights: string;
  size: number;
  mean: number[];
  background: number[];
  most: number; // pixels of a picture
}

export type WrittenComparison = Record<"low" | "step" | "codes" | "mean" | "axes" | "spacing", string> & {
  pooling: keyof Pooled;
  odds: [number, number] | null; // slope and intercept
};

interface Own {
  url: string;
  pooled: Pooled;
}

export class Sight {
  readonly own = new Map<string, Own>(); // a person's own pictures by id
  private readonly worker = new Worker(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));

  constructor(private readonly network: WrittenNetwork) {
    this.worker.postMessage({ ...network, weights: bytes(network.weights) });
  }

  /** Take a picture, or a part of one: its id. An error says in a sentence what to do. */
  async take(file: Blob, name: string): Promise<string> {
    if (/^(video|audio)\//.test(file.type)) throw new Error(`${name} is a recording, not a picture: take a still picture from it.`);
    const url = URL.createObjectURL(file), image = new Image();
    try {
      image.src = url;
      await new Promise((loaded, failed) => ([image.onload, image.onerror] = [loaded, failed]));
    } catch {
      throw new Error(`${name} is no picture that this browser can open, or it is damaged: save it as JPEG or PNG.`);
    }
    const pixels = image.naturalWidth * image.naturalHeight, millions = (many: number) => Math.round(many / 1e6);
    if (pixels > this.network.most)
      throw new Error(`${name} has ${millions(pixels)} megapixels, over the limit of ${millions(this.network.most)}: save it smaller.`);
    const bitmap = await createImageBitmap(file).catch(() => {
      throw new Error(`${name} cannot be decoded, so it may be damaged: save it again as JPEG or PNG.`);
    });
    const { port1, port2 } = new MessageChannel();
    this.worker.postMessage(bitmap, [bitmap, port2]);
    const pooled = await new Promise<Pooled | string>((done) => (port1.onmessage = ({ data }) => done(data)));
    if (typeof pooled === "string") throw new Error(`${name} cannot be searched with (${pooled}): try a smaller picture.`);
    const id = `${name.startsWith("part ") ? "" : "new picture "}${name} ${this.own.size.toString(16).padStart(12, "0")}`;
    this.own.set(id, { url, pooled });
    return id;
  }
}

const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, at) => sum + value * b[at], 0);

function unit(vector: Float32Array) {
  const length = Math.sqrt(dot(vector, vector)) || 1;
  return vector.map((value) => value / length);
}

/** The vectors of a system in 8 bits, and what their distances mean. */
export class Comparison {
  private readonly codes: Uint8Array; // row i, dimension d: low[d] + step[d] * codes[i * width + d]
  private readonly arrays: Record<string, Float32Array> = {}; // mean and axes: of a PCA, or empty

  constructor(private readonly written: WrittenComparison) {
    this.codes = new Uint8Array(bytes(written.codes));
    for (const name of ["low", "step", "mean", "axes", "spacing"] as const) this.arrays[name] = new Float32Array(bytes(written[name]));
  }

  /** The distances of all pictures from a new one. */
  distances(pooled: Pooled): number[] {
    const { low, step, mean, axes } = this.arrays, width = step.length;
    let query = unit(pooled[this.written.pooling]);
    if (axes.length) {
      const centred = query.map((value, at) => value - mean[at]);
      query = unit(step.map((_, row) => dot(centred, axes.subarray(row * mean.length))));
    }
    return Array.from({ length: this.codes.length / width }, (_, row) => {
      const vector = step.map((one, at) => low[at] + one * this.codes[row * width + at]);
      return Math.sqrt(Math.max(2 - (2 * dot(query, vector)) / Math.sqrt(dot(vector, vector)), 0));
    });
  }

  /** The probability in per cent that a picture at this distance is relevant (index/probability.py). */
  likely(distance: number): number | null {
    const similar = Math.max(1 - distance ** 2 / 2, 0), [slope, intercept] = this.written.odds ?? [NaN, NaN];
    const odds = slope * Math.log((similar + 0.01) / (1.01 - similar)) + intercept;
    return this.written.odds && Math.round(100 / (1 + Math.exp(-odds)));
  }

  /** Whether a picture whose nearest is at this distance is like the collection, in a sentence (systems/novelty.py). */
  novelty(nearest: number): string {
    const { spacing } = this.arrays, share = (1 + spacing.filter((far) => far >= nearest).length) / (1 + spacing.length);
    if (spacing.length < 19) return "";
    return share > 0.05
      ? `Not unlike the collection: ${Math.round(100 * share)}% of its pictures are as far from all others.`
      : `Nothing here is likely to fit: ${(100 * share).toFixed(1)}% of the collection's pictures are as far from all others.`;
  }
}
