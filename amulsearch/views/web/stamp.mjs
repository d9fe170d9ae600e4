// Writes the digest of the sources before the bundle, so that a test without npm can tell whether it is up to date.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";

const digest = createHash("sha256");
for (const name of readdirSync("src").filter((name) => name.endsWith(".ts")).sort()) digest.update(readFileSync(`src/${name}`));
writeFileSync("../front.js", `/* ${digest.digest("hex")} */ ${readFileSync("../front.js", "utf8")}`);
