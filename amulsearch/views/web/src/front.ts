// The script of pages and of the explorer: it starts the parts of a page that wait for it, and is a module of anywidget.

import { render } from "./explorer";
import { start } from "./page";

for (const root of document.querySelectorAll<HTMLElement>(".am-answers:not(.am-alive)")) start(root);
export default { render };
