// SqueezeNet 1.1 up to its last feature map, in a Web Worker: it takes bitmaps, and gives their vectors by pooling.

/** What Python writes (seeing.py). */
export interface Network<Weights = ArrayBuffer> {
  weights: Weights; // float16: of each convolution the kernels (outputs, height x width x inputs), then the biases
  size: number; // of the input, a square
  mean: number[]; // of blue, green and red
  background: number[]; // red, green and blue
  most: number; // pixels of a picture
}

export type Pooled = Record<"mean" | "gem", Float32Array>;

/** A feature map, side x side x depth; behind it, room for one more place. */
type Values = { values: Float32Array; side: number; depth: number };

const STRIP = 4e6; // pixels that are read from a picture at once

let network: Network, weights: Float32Array, read: number;

onmessage = ({ data, ports }: MessageEvent<Network | ImageBitmap>) => {
  if (data instanceof ImageBitmap) return ports[0].postMessage(pooled(lastMap(framed(data))));
  network = data;
  // float16 as float32: the bits in their new places, then the exponent, whose bias is 15 in one and 127 in the other.
  const bits = Uint32Array.from(new Uint16Array(data.weights), (half) => ((half & 0x8000) << 16) | ((half & 0x7fff) << 13));
  weights = new Float32Array(bits.buffer).map((value) => value * 2 ** 112);
};

const blank = (side: number, depth: number): Values => ({ values: new Float32Array((side * side + 1) * depth), side, depth });

const halfEven = (value: number) => (value % 1 === 0.5 ? 2 * Math.round(value / 2) : Math.round(value)); // as in Python

/** A picture, resized to fit and laid in the middle of the background, less the mean. */
function framed(bitmap: ImageBitmap): Values {
  const { width, height } = bitmap, { size, mean, background } = network, square = blank(size, 3);
  const [wide, high] = [width, height].map((side) => Math.max(1, halfEven(side * (size / Math.max(width, height)))));
  const [left, top] = [wide, high].map((side) => Math.floor((size - side) / 2)), narrow = new Uint8ClampedArray(4 * wide * height);
  const rows = Math.min(height, Math.ceil(STRIP / width)); // a phone has no canvas for all pixels of a large picture
  const context = new OffscreenCanvas(width, rows).getContext("2d", { willReadFrequently: true })!;
  context.fillStyle = `rgb(${background})`;
  for (let y = 0; y < height; y += rows) {
    context.fillRect(0, 0, width, rows);
    context.drawImage(bitmap, 0, -y);
    resize(context.getImageData(0, 0, width, Math.min(rows, height - y)).data, width, narrow, wide, y);
  }
  bitmap.close();
  const pixels = resize(narrow, height, new Uint8ClampedArray(4 * wide * high), high);
  for (let place = 0; place < size * size; place++) {
    const x = (place % size) - left, y = Math.floor(place / size) - top, inside = x >= 0 && y >= 0 && x < wide && y < high;
    for (let c = 0; c < 3; c++)
      square.values[place * 3 + c] = (inside ? pixels[(y * wide + x) * 4 + 2 - c] : background[2 - c]) - mean[c];
  }
  return square;
}

/** Resize rows of RGBA to another width, as preprocess.py does, rounded to whole levels; they become columns from `start`. */
function resize(pixels: Uint8ClampedArray, before: number, out: Uint8ClampedArray, width: number, start = 0) {
  const scale = before / width, reach = Math.max(scale, 1), high = out.length / 4 / width, height = pixels.length / 4 / before;
  for (let x = 0; x < width; x++) {
    const centre = scale * (x + 0.5), first = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const last = Math.min(Math.trunc(centre + reach + 0.5), before);
    const near = Float64Array.from({ length: last - first }, (_, at) => Math.max(reach - Math.abs(first + at - centre + 0.5), 0));
    const whole = near.reduce((a, b) => a + b), shares = near.map((share) => share / whole);
    for (let y = 0; y < height; y++)
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let at = 0, from = 4 * (y * before + first) + c; at < shares.length; at++, from += 4) sum += pixels[from] * shares[at];
        out[4 * (x * high + start + y) + c] = sum;
      }
  }
  return out;
}

function lastMap(square: Values): Values {
  read = 0;
  const modules = [[16, 64], [16, 64], [], [32, 128], [32, 128], [], [48, 192], [48, 192], [64, 256], [64, 256]];
  return modules.reduce((map, [squeezed, expanded]) => (squeezed ? fire(map, squeezed, expanded) : pool(map)), pool(convolve(square, 64, 3, 2)));
}

/** A fire module: what two convolutions make of a narrow map stands side by side. */
function fire(map: Values, squeezed: number, expanded: number): Values {
  const narrow = convolve(map, squeezed, 1), out = blank(map.side, 2 * expanded);
  convolve(narrow, expanded, 1, 1, out);
  return convolve(narrow, expanded, 3, 1, out, expanded);
}

/** The maxima of 3 x 3 places, two apart. */
function pool(map: Values): Values {
  const { values, side } = patches(map, 3, 2, 0), { depth } = map, out = blank(side, depth);
  values.forEach((value, at) => {
    const to = Math.floor(at / (9 * depth)) * depth + (at % depth);
    if (value > out.values[to]) out.values[to] = value; // none is negative
  });
  return out;
}

/** The size x size places around each place, side by side; beyond the edge are zeros. */
function patches({ values, side, depth }: Values, size: number, stride: number, pad: number): Values {
  const out = blank(Math.floor((side + 2 * pad - size) / stride) + 1, size ** 2 * depth);
  for (let at = 0; at < (out.side * size) ** 2; at++) {
    const place = Math.floor(at / size ** 2), x = (place % out.side) * stride + (at % size) - pad;
    const y = Math.floor(place / out.side) * stride + (Math.floor(at / size) % size) - pad, from = (y * side + x) * depth;
    if (x >= 0 && y >= 0 && x < side && y < side) out.values.set(values.subarray(from, from + depth), at * depth);
  }
  return out;
}

/** A convolution with the next weights, and ReLU: products of two patches with four kernels at a time. */
function convolve(map: Values, outputs: number, size: number, stride = 1, into?: Values, start = 0): Values {
  const { values, side, depth } = size > 1 ? patches(map, size, stride, stride > 1 ? 0 : 1) : map, out = into ?? blank(side, outputs);
  const kernels = weights.subarray(read, (read += outputs * depth)), biases = weights.subarray(read, (read += outputs));
  for (let o = 0; o < outputs; o += 4)
    for (let place = 0; place < side * side; place += 2) {
      const a = place * depth, b = a + depth, w = o * depth, x = w + depth, y = x + depth, z = y + depth;
      let aw = biases[o], ax = biases[o + 1], ay = biases[o + 2], az = biases[o + 3], bw = aw, bx = ax, by = ay, bz = az;
      for (let k = 0; k < depth; k++) {
        const one = values[a + k], other = values[b + k], kw = kernels[w + k], kx = kernels[x + k], ky = kernels[y + k], kz = kernels[z + k];
        aw += one * kw, ax += one * kx, ay += one * ky, az += one * kz;
        bw += other * kw, bx += other * kx, by += other * ky, bz += other * kz;
      }
      const to = place * out.depth + start + o;
      out.values.set([aw, ax, ay, az].map((value) => Math.max(value, 0)), to);
      out.values.set([bw, bx, by, bz].map((value) => Math.max(value, 0)), to + out.depth);
    }
  return out;
}

/** The mean over all places, and the generalised mean with the power 3. */
function pooled({ values, side, depth }: Values): Pooled {
  const [mean, gem] = [1, 3].map((power) => Float32Array.from({ length: depth }, (_, c) => {
    let sum = 0;
    for (let at = c; at < side * side * depth; at += depth) sum += Math.max(values[at], 1e-6) ** power;
    return (sum / side ** 2) ** (1 / power);
  }));
  return { mean, gem };
}
