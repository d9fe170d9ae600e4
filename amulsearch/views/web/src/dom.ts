// Elements, and how names and numbers are shown.

type Child = Node | string | null;
type Value = string | number | boolean | ((event: any) => void);

export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name, attributes: Record<string, Value> = {}, ...children: Child[]
): HTMLElementTagNameMap[Name] {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(key.slice(2), value);
    else if (typeof value === "boolean") node.toggleAttribute(key, value);
    else node.setAttribute(key, String(value));
  }
  node.append(...children.filter((child): child is Node | string => child !== null));
  return node;
}

export function button(label: string | Node, act: () => void, attributes: Record<string, Value> = {}) {
  return element("button", { type: "button", onclick: act, ...attributes }, label);
}

/** A button with which one chooses pictures. */
export function chooser(label: string, take: (files: File[]) => void, attributes: Record<string, Value> = {}) {
  const change = () => take([...file.files!]), again = () => (file.value = ""); // the same one can be chosen again
  const file = element("input", { type: "file", accept: "image/*", hidden: true, onchange: change, onclick: again, ...attributes });
  return element("span", {}, button(label, () => file.click(), { title: "Or paste one, or drop it here" }), file);
}

/** Take the files that are pasted or dropped on a place. */
export function receive(place: EventTarget, take: (files: File[]) => void) {
  for (const kind of ["dragover", "paste", "drop"])
    place.addEventListener(kind, (event: any) => {
      const files: File[] = [...(event.clipboardData ?? event.dataTransfer).files];
      if (kind !== "dragover" && !files.length) return; // text
      event.preventDefault();
      event.stopPropagation();
      if (files.length) take(files);
    });
}

/** A name that may break after each underscore. */
export const breaking = (name: string) =>
  name.split(/(?<=_)/).flatMap((part, at) => (at ? [document.createElement("wbr"), part] : [part]));

/** The file name without folders and extension; for a part or a new picture, preceded by what it is. */
export function nameOf(id: string) {
  if (id.startsWith("words: ")) return id;
  const [, kind, path] = id.match(/^((?:part [\d,]+ of )*(?:new picture )?)(.*)$/s)!;
  const file = kind.endsWith("new picture ") ? path.replace(/ [0-9a-f]{12}$/, "") : path;
  return kind + file.replace(/^.*\//s, "").replace(/\.[^.]+$/, "");
}

export const counted = (count: number, noun: string) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

/** A name or words as they are compared: in one Unicode form, with plain spaces, without invisible characters. */
export const folded = (text: string) => text.replace(/\p{Cf}/gu, "").replace(/\s/g, " ").normalize("NFC").toLowerCase();

export function download(name: string, content: Blob) {
  const address = URL.createObjectURL(content);
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
