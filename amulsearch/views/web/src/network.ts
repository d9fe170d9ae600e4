// SqueezeNet 1.1 up to its last feature map, in a Web Worker: it takes bitmaps, and gives their vectors by pooling.

export interface Network {
  weights: ArrayBuffer; // float16: of each convolution the kernels (outputs, height x width x inputs), then the biases
  size: number; // of the input, a square
  mean: number[]; // of blue, green and red
  background: number[]; // red, green and blue
}

export type Pooled = Record<"mean" | "gem", Float32Array>;

/** A feature map, side x side x depth; behind it, zeros up to an even number of places. */
interface Values {
  values: Float32Array;
  side: number;
  depth: number;
}

const GEM_P = 3, LEAST = 1e-6;

let network: Network, weights: Float32Array, read: number;

onmessage = ({ data, ports: [port] }: MessageEvent<Network | ImageBitmap>) => {
  if (!(data instanceof ImageBitmap)) {
    network = data;
    weights = floats(new Uint16Array(data.weights));
    return;
  }
  try {
    port.postMessage(pooled(lastMap(framed(data))));
  } catch (error) {
    port.postMessage(String(error)); // such as too little memory
  }
};

/** float16 as float32: the bits in their new places, then the exponent, whose bias is 15 in one and 127 in the other. */
function floats(halves: Uint16Array) {
  const bits = Uint32Array.from(halves, (half) => ((half & 0x8000) << 16) | ((half & 0x7fff) << 13));
  return new Float32Array(bits.buffer).map((value) => value * 2 ** 112);
}

const blank = (side: number, depth: number): Values => ({ values: new Float32Array((side * side + 1) * depth), side, depth });

const halfEven = (value: number) => (value % 1 === 0.5 ? 2 * Math.round(value / 2) : Math.round(value)); // as in Python

/** A picture, resized to fit and laid in the middle of the background, less the mean. */
function framed(bitmap: ImageBitmap): Values {
  const { width, height } = bitmap, { size, mean, background } = network, scale = size / Math.max(width, height);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true })!;
  context.fillStyle = `rgb(${background})`;
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const pixels = context.getImageData(0, 0, width, height).data;
  const [wide, high] = [width, height].map((side) => Math.max(1, halfEven(side * scale)));
  const resized = resize(resize(pixels, width, height, wide), height, wide, high); // each turns the picture
  const [left, top] = [wide, high].map((side) => Math.floor((size - side) / 2)), square = blank(size, 3);
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++) {
      const [u, v] = [x - left, y - top], inside = u >= 0 && v >= 0 && u < wide && v < high;
      for (let c = 0; c < 3; c++)
        square.values[(y * size + x) * 3 + c] = (inside ? resized[(v * wide + u) * 4 + 2 - c] : background[2 - c]) - mean[c];
    }
  return square;
}

/** Resize RGBA to another width in the integers that torch and preprocess.py compute with; rows become columns. */
function resize(pixels: Uint8ClampedArray, before: number, height: number, width: number) {
  const scale = before / width, reach = Math.max(scale, 1), out = new Uint8ClampedArray(4 * width * height);
  const spans = Array.from({ length: width }, (_, x) => {
    const centre = scale * (x + 0.5), first = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const last = Math.min(Math.trunc(centre + reach + 0.5), before);
    const near = Array.from({ length: last - first }, (_, at) => Math.max(1 - Math.abs(first + at - centre + 0.5) / reach, 0));
    const sum = near.reduce((a, b) => a + b, 0);
    return { first, shares: near.map((share) => share / sum) };
  });
  const most = Math.max(...spans.map(({ shares }) => shares.reduce((a, b) => Math.max(a, b))));
  let bits = 0;
  while (bits < 22 && Math.trunc(0.5 + most * 2 ** (bits + 1)) < 2 ** 15) bits++;
  spans.forEach(({ first, shares }, x) => {
    const whole = Float64Array.from(shares, (share) => Math.trunc(share * 2 ** bits + 0.5));
    for (let y = 0; y < height; y++)
      for (let c = 0; c < 3; c++) {
        let sum = 2 ** (bits - 1);
        for (let at = 0, from = 4 * (y * before + first) + c; at < whole.length; at++, from += 4) sum += pixels[from] * whole[at];
        out[4 * (x * height + y) + c] = Math.floor(sum / 2 ** bits);
      }
  });
  return out;
}

/** The maps of all layers, one after the other; the weights lie in the order in which they are read. */
function lastMap(square: Values): Values {
  read = 0;
  let map = pool(convolve(square, 64, 3, 2));
  for (const [squeezed, expanded] of [[16, 64], [16, 64], [], [32, 128], [32, 128], [], [48, 192], [48, 192], [64, 256], [64, 256]])
    map = squeezed ? fire(map, squeezed, expanded) : pool(map);
  return map;
}

/** A fire module: what two convolutions make of a narrow map stands side by side. */
function fire(map: Values, squeezed: number, expanded: number): Values {
  const narrow = convolve(map, squeezed, 1), out = blank(map.side, 2 * expanded);
  convolve(narrow, expanded, 1, 1, 0, out);
  return convolve(narrow, expanded, 3, 1, expanded, out);
}

/** A convolution with the next weights, and ReLU; with stride 1, the size stays. */
function convolve(map: Values, outputs: number, size: number, stride = 1, start = 0, into?: Values): Values {
  const pad = stride === 1 ? (size - 1) / 2 : 0, side = Math.floor((map.side + 2 * pad - size) / stride) + 1;
  const out = into ?? blank(side, outputs), patches = size === 1 ? map : blank(side, size * size * map.depth), { depth } = map;
  for (let place = 0; place < side * side && size > 1; place++)
    for (let at = 0; at < size * size; at++) {
      const y = Math.floor(place / side) * stride + Math.floor(at / size) - pad, x = (place % side) * stride + (at % size) - pad;
      if (x < 0 || y < 0 || x >= map.side || y >= map.side) continue; // zeros
      const from = (y * map.side + x) * depth, to = place * patches.depth + at * depth;
      patches.values.set(map.values.subarray(from, from + depth), to);
    }
  const kernels = weights.subarray(read, (read += outputs * patches.depth));
  multiply(patches.values, kernels, weights.subarray(read, (read += outputs)), out, start);
  return out;
}

/** Products of two rows with four kernels at a time, with the biases and ReLU. */
function multiply(rows: Float32Array, kernels: Float32Array, biases: Float32Array, out: Values, start: number) {
  const length = kernels.length / biases.length, put = (at: number, value: number) => (out.values[at] = value > 0 ? value : 0);
  for (let o = 0; o < biases.length; o += 4)
    for (let row = 0; row < out.side * out.side; row += 2) {
      const a = row * length, b = a + length, w = o * length, x = w + length, y = x + length, z = y + length;
      let aw = biases[o], ax = biases[o + 1], ay = biases[o + 2], az = biases[o + 3], bw = aw, bx = ax, by = ay, bz = az;
      for (let k = 0; k < length; k++) {
        const one = rows[a + k], other = rows[b + k], kw = kernels[w + k], kx = kernels[x + k], ky = kernels[y + k], kz = kernels[z + k];
        aw += one * kw, ax += one * kx, ay += one * ky, az += one * kz;
        bw += other * kw, bx += other * kx, by += other * ky, bz += other * kz;
      }
      const at = row * out.depth + start + o;
      [aw, ax, ay, az].forEach((value, place) => put(at + place, value));
      [bw, bx, by, bz].forEach((value, place) => put(at + out.depth + place, value));
    }
}

/** The maxima of 3 x 3 places, two apart; at the edge, of those that there are. */
function pool({ values, side, depth }: Values): Values {
  const out = blank(Math.ceil((side - 3) / 2) + 1, depth), across = out.side;
  for (let place = 0; place < across * across; place++) {
    const left = 2 * (place % across), top = 2 * Math.floor(place / across);
    for (let y = top; y < Math.min(top + 3, side); y++)
      for (let x = left; x < Math.min(left + 3, side); x++)
        for (let c = 0, to = place * depth, from = (y * side + x) * depth; c < depth; c++)
          out.values[to + c] = Math.max(out.values[to + c], values[from + c]); // none is negative
  }
  return out;
}

/** The mean over all places, and the generalised mean. */
function pooled({ values, side, depth }: Values): Pooled {
  const mean = new Float64Array(depth), gem = new Float64Array(depth), places = side * side;
  for (let place = 0; place < places; place++)
    for (let c = 0; c < depth; c++) {
      const value = values[place * depth + c];
      mean[c] += value / places;
      gem[c] += Math.max(value, LEAST) ** GEM_P / places;
    }
  return { mean: Float32Array.from(mean), gem: Float32Array.from(gem, (value) => value ** (1 / GEM_P)) };
}
