// Holds a page that `alexnet report` wrote against what a page has to be, in a headless Chromium:
//
//     npm install axe-core
//     node tests/report_page.mjs report.html node_modules/axe-core/axe.min.js [chromium]
//
// No request, no error, nothing wider than a telephone, text for every picture, nothing serious for axe; at 1280 and 390
// pixels, light and dark. The page stands in a frame of that width: a window of Chromium has 500 pixels at least.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [page, axe, chromium = "chromium"] = process.argv.slice(2);
const html = readFileSync(page, "utf8");
const folder = mkdtempSync(join(tmpdir(), "report-"));
let failures = 0;
const check = (good, words) => {
  console.log(`${good ? "ok   " : "WRONG"} ${words}`);
  failures += good ? 0 : 1;
};
// Addresses that a page can ask for; those of data and of the page itself are none.
const asked = [...html.matchAll(/(?:src|href)="(?!data:|#)([^"]*)"|url\((?!data:)/g)].map((found) => found[0]);
check(asked.length === 0, `no request: ${asked.slice(0, 3)}`);
check(html.length < 5e6, `${(html.length / 1e6).toFixed(2)} MB, less than 5`);

const probe = `<script>${readFileSync(axe, "utf8")}</script><script>
const errors = [];
addEventListener("error", (event) => errors.push(event.message));
addEventListener("load", async () => {
  const found = await axe.run(document, { resultTypes: ["violations"] });
  const pictures = [...document.querySelectorAll("img, svg[role=img]")];
  const result = {
    errors,
    scroll: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    width: innerWidth,
    silent: pictures.filter((it) => !(it.alt || it.getAttribute("aria-label"))).length,
    pictures: pictures.length,
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    requests: performance.getEntriesByType("resource").map((it) => it.name).filter((it) => !it.startsWith("data:")),
    violations: found.violations.map((it) => ({ id: it.id, impact: it.impact, nodes: it.nodes.slice(0, 3).map((n) => n.html.slice(0, 160)) })),
  };
  parent.postMessage(JSON.stringify(result), "*");
});
</script>`;
const probed = join(folder, "probed.html");
writeFileSync(probed, html.replace("</head>", () => `${probe}</head>`));
const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"];
const frame = join(folder, "frame.html");
for (const [width, scheme] of [[1280, 1], [1280, 0], [390, 1], [390, 0]]) {
  const more = ["--window-size=1400,900", `--blink-settings=preferredColorScheme=${scheme}`, "--virtual-time-budget=60000"];
  writeFileSync(frame, `<!doctype html><body><script>
addEventListener("message", (event) => {
  const probe = Object.assign(document.createElement("pre"), { id: "probe", textContent: event.data });
  document.body.replaceChildren(probe);
});
</script><iframe src="probed.html" style="width:${width}px;height:900px;border:0"></iframe></body>`);
  const dom = execFileSync(chromium, [...flags, ...more, "--dump-dom", `file://${frame}`], {
    encoding: "utf8", maxBuffer: 1 << 28, stdio: ["ignore", "pipe", "ignore"],
  });
  const text = dom.match(/<pre id="probe">([^]*?)<\/pre>/)?.[1] ?? "null";
  const result = JSON.parse(text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&"));
  const where = `${result?.width} px, ${result?.dark ? "dark" : "light"}:`;
  check(result && result.errors.length === 0, `${where} no error ${result?.errors}`);
  check(result?.requests.length === 0, `${where} no request ${result?.requests}`);
  check(result?.scroll <= 0, `${where} nothing is wider than the page (${result?.scroll} px)`);
  check(result?.silent === 0, `${where} all of ${result?.pictures} pictures have words`);
  const serious = result?.violations.filter((it) => ["serious", "critical"].includes(it.impact)) ?? [null];
  check(serious.length === 0, `${where} axe: ${JSON.stringify(result?.violations)}`);
}
rmSync(folder, { recursive: true });
process.exit(failures > 0 ? 1 : 0);
