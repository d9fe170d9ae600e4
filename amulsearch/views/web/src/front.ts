// The script of pages, of the explorer and of the jury: it starts the parts of a page that wait for it, and is a module
// of anywidget.

import { render as explorer } from "./explorer";
import { render as jury } from "./jury";
import { start } from "./page";
import type { Model } from "./parts";

for (const root of document.querySelectorAll<HTMLElement>(".am-answers:not(.am-alive)")) start(root);
const render = (context: { model: Model; el: HTMLElement }) => (context.model.get("face") === "jury" ? jury : explorer)(context);
export default { render };
