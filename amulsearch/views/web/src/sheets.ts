// Thumbnails on square sheets, which arrive one after the other.

export class Sheets {
  readonly rows = new Map<string, number>();
  readonly images: HTMLImageElement[];

  constructor(readonly ids: string[], readonly side: number, private readonly across: number) {
    ids.forEach((id, row) => this.rows.set(id, row));
    this.images = Array.from({ length: Math.ceil(ids.length / across ** 2) }, () => new Image());
  }

  /** The first row of a sheet. */
  start(sheet: number) {
    return Math.min(sheet * this.across ** 2, this.ids.length);
  }

  /** The number of the sheet of a picture. */
  sheet(row: number) {
    return Math.floor(row / this.across ** 2);
  }

  /** Draw a picture; while its sheet has not arrived, a grey square. */
  draw(context: CanvasRenderingContext2D, row: number, x: number, y: number, side: number) {
    const image = this.images[this.sheet(row)], place = row - this.start(this.sheet(row));
    const [u, v] = [place % this.across, Math.floor(place / this.across)];
    if (image.complete && image.naturalWidth)
      return context.drawImage(image, u * this.side, v * this.side, this.side, this.side, x, y, side, side);
    context.fillStyle = "#8884";
    context.fillRect(x, y, side, side);
  }

  /** A picture as an element. */
  canvas(id: string) {
    const canvas = document.createElement("canvas"), row = this.rows.get(id)!, image = this.images[this.sheet(row)];
    canvas.width = canvas.height = this.side;
    const draw = () => this.draw(canvas.getContext("2d")!, row, 0, 0, this.side);
    if (!image.complete || !image.naturalWidth) image.addEventListener("load", draw, { once: true });
    draw();
    return canvas;
  }
}
