// Elements, and how names and numbers are shown.

type Child = Node | string | null;
type Value = string | number | boolean | ((event: any) => void);

export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name, attributes: Record<string, Value> = {}, ...children: Child[]
): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key.slice(2), value);
    else if (typeof value === "boolean") made.toggleAttribute(key, value);
    else made.setAttribute(key, String(value));
  }
  made.append(...children.filter((child): child is Node | string => child !== null));
  return made;
}

export function button(label: string | Node, act: () => void, attributes: Record<string, Value> = {}) {
  return element("button", { type: "button", onclick: act, ...attributes }, label);
}

/** A name that may break after each underscore. */
export const breaking = (name: string) =>
  name.split(/(?<=_)/).flatMap((part, at) => (at ? [document.createElement("wbr"), part] : [part]));

/** A file name without folders and extension, shortened in the middle. */
export function short(id: string) {
  const name = id.replace(/.*\//s, "").replace(/\.[^.]*$/, "");
  return name.length <= 30 ? name : `${name.slice(0, 18)}…${name.slice(-11)}`;
}

/** A name or words as they are compared: in one Unicode form, with plain spaces, without invisible characters. */
export const folded = (text: string) => text.replace(/\p{Cf}/gu, "").replace(/\s/g, " ").normalize("NFC").toLowerCase();

/** Download a table of pictures. */
export function saveTable(rows: { id: string; label: string | null }[]) {
  const quoted = (text: string) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = rows.map(({ id, label }) => `${quoted(id)},${quoted(label ?? "")}\n`);
  download("selection.csv", new Blob(["id,label\n", ...lines], { type: "text/csv" }));
}

export function download(name: string, content: Blob) {
  const address = URL.createObjectURL(content);
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
