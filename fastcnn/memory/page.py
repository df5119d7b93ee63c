"""A memory report as one self-contained HTML page: no network, no other files."""

from __future__ import annotations

import html
import json
from typing import Any

from fastcnn.memory.sizes import format_bytes
from fastcnn.memory.trace import CATEGORIES, holder_text

_POINTS = 6000
#: Colours that stay apart for colour-blind readers, in the order of CATEGORIES.
_COLOURS = ("#4477aa", "#ee6677", "#aa3377", "#66ccee", "#228833", "#ccbb44", "#ee8866", "#bbbbbb", "#99ddff")

_STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --dim: #5f6368; --paper: #fff; --rule: #ddd;
        --alarm: #c22f1a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --dim: #a2a8b0; --paper: #16181c;
        --rule: #363a42; --alarm: #ff7b66; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
       max-width: 1080px; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .6rem; } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
p { margin: .3rem 0; color: var(--dim); } b { color: var(--ink); }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--dim); font-size: 12px; }
.legend span { display: inline-block; margin-right: 1rem; white-space: nowrap; }
.legend i, td i { display: inline-block; width: .8em; height: .8em; margin-right: .4em; border-radius: 2px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { color: var(--dim); font-weight: 500; }
#tip { position: fixed; pointer-events: none; background: var(--paper); border: 1px solid var(--rule); padding: .5rem
       .7rem; border-radius: 6px; font-size: 13px; display: none; box-shadow: 0 2px 10px #0005; min-width: 12rem; }
#tip i { display: inline-block; width: .75em; height: .75em; margin-right: .5em; border-radius: 2px; }
#tip b { float: right; margin-left: 1.5rem; font-variant-numeric: tabular-nums; }
#tip hr { border: 0; border-top: 1px solid var(--rule); margin: .35rem 0; }
.ok { color: #2e9e4f; } .no { color: var(--alarm); }
.wide { overflow-x: auto; }
"""

_SCRIPT = """
const D = JSON.parse(document.getElementById('data').textContent), R = D.rows, n = R.length, K = D.categories.length;
const W = 1040, H = 420, L = 84, T = 30, B = 62, w = W - L - 10, h = H - T - B;
const total = R.map(r => r.slice(5).reduce((a, b) => a + b, 0));
const top_ = Math.max(D.peak, D.budget || 0) * 1.06 || 1;
const X = i => L + w * i / n, Y = v => T + h * (1 - v / top_);
const human = b => { let u = 0; while (b >= 1024 && u < 4) { b /= 1024; u++; }
  return (u ? b.toPrecision(3) : b) + ' ' + ['B', 'KiB', 'MiB', 'GiB', 'TiB'][u]; };
const make = (tag, at, text) => { const e = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const k in at) e.setAttribute(k, at[k]); if (text) e.textContent = text; svg.appendChild(e); return e; };
const svg = document.getElementById('chart');
const tops = [];
for (let c = 0; c < K; c++) tops.push(R.map((r, i) => (c ? tops[c - 1][i] : 0) + r[5 + c]));
for (let c = K - 1; c >= 0; c--) {  // highest first: each paints over what is below its own top
  if (!R.some(r => r[5 + c])) continue;
  let d = 'M' + L + ' ' + Y(0);
  for (let i = 0; i < n; i++) d += 'L' + X(i).toFixed(2) + ' ' + Y(tops[c][i]).toFixed(2) + 'H' + X(i + 1).toFixed(2);
  make('path', {d: d + 'V' + Y(0) + 'Z', fill: D.colours[c], stroke: D.colours[c], 'stroke-width': .7});
}
let unit = 1024 ** Math.floor(Math.log2(top_) / 10);  // 1, 2 or 5 times 1, 10 or 100 of KiB, MiB or GiB
unit = [.1, .2, .5, 1, 2, 5, 10, 20, 50, 100, 200, 500].map(k => k * unit).find(u => top_ / u <= 7) || unit;
for (let k = 0; k * unit <= top_; k++) {
  const v = k * unit;
  make('line', {x1: L, x2: L + w, y1: Y(v), y2: Y(v), stroke: 'currentColor', 'stroke-opacity': v ? .13 : .5});
  make('text', {x: L - 8, y: Y(v) + 4, 'text-anchor': 'end'}, v ? human(v) : '0');
}
make('text', {x: 13, y: T + h / 2, 'text-anchor': 'middle', transform: `rotate(-90 13 ${T + h / 2})`}, 'allocated');
make('text', {x: L + w / 2, y: H - 4, 'text-anchor': 'middle'}, 'events in their order (an allocation, a release)');
const span = (from, to, key, y, name, weight) => {  // a name under what it holds for, where there is room
  if (X(to) - X(from) < name.length * 6.2) return;
  make('text', {x: (X(from) + X(to)) / 2, y, 'text-anchor': 'middle', 'font-weight': weight}, name); };
const runs = (key, f) => { let from = 0;
  for (let i = 1; i <= n; i++) if (i === n || key(R[i]) !== key(R[from])) { f(from, i, key(R[from])); from = i; } };
runs(r => r[1], (a, b, step) => {
  span(a, b, step, T + h + 34, step ? 'step ' + step : 'before', 600);
  if (a) make('line', {x1: X(a), x2: X(a), y1: T, y2: T + h + 40, stroke: 'currentColor', 'stroke-opacity': .55}); });
runs(r => r[1] + '/' + (D.texts[r[4]] || ''), (a, b, name) => {
  name = name.split('/')[1];
  if (name && X(b) - X(a) > 8) {
    span(a, b, name, T + h + 17, name, 400);
    make('line', {x1: X(a) + 1, x2: X(b) - 1, y1: T + h + 4, y2: T + h + 4, stroke: 'currentColor',
                  'stroke-opacity': .35, 'stroke-width': 2}); } });
const at = total.indexOf(Math.max(...total)), right = X(at) > L + w * .6;
make('circle', {cx: X(at + .5), cy: Y(total[at]), r: 4, fill: 'none', stroke: 'currentColor', 'stroke-width': 1.5});
const over = D.budget !== null && D.peak > D.budget, low = D.budget > D.peak && Y(D.peak) - Y(D.budget) < 18;
const label = make('text', {x: X(at + .5) + (right ? -9 : 9), y: Y(total[at]) + (low ? 16 : -5),
  'text-anchor': right ? 'end' : 'start', 'font-weight': 600}, 'peak ' + human(D.peak));
label.style.fill = 'var(--ink)';
if (D.budget !== null) {
  make('line', {x1: L, x2: L + w, y1: Y(D.budget), y2: Y(D.budget), stroke: 'var(--alarm)',
                'stroke-dasharray': '7 4', 'stroke-width': 1.6});
  const t = make('text', {x: L + w - 4, y: Y(D.budget) - 5, 'text-anchor': 'end', 'font-weight': 600},
    'budget ' + human(D.budget)); t.style.fill = 'var(--alarm)'; }
const cursor = make('line', {y1: T, y2: T + h, stroke: 'currentColor', 'stroke-opacity': 0});
const tip = document.getElementById('tip');
const hide = () => { tip.style.display = 'none'; cursor.setAttribute('stroke-opacity', 0); };
svg.addEventListener('mousemove', e => {
  const box = svg.getBoundingClientRect(), x = (e.clientX - box.left) * W / box.width;
  const i = Math.floor((x - L) / w * n);
  if (i < 0 || i >= n) return hide();
  const r = R[i], t = k => D.texts[r[k]];
  tip.replaceChildren();
  const row = (html, colour, right) => { const d = document.createElement('div');
    if (colour) { const m = document.createElement('i'); m.style.background = colour; d.append(m); }
    d.append(html); if (right) { const b = document.createElement('b'); b.textContent = right; d.append(b); }
    tip.append(d); };
  row(t(2) || (r[1] ? 'released' : 'start'));
  if (t(3)) row('in ' + t(3));
  row([t(4), r[1] ? 'step ' + r[1] : ''].filter(s => s).join(', ') || 'before the first step');
  tip.append(document.createElement('hr'));
  for (let c = K - 1; c >= 0; c--) if (r[5 + c]) row(D.categories[c], D.colours[c], human(r[5 + c]));
  row('together', 'transparent', total[i].toLocaleString('en'));
  tip.style.display = 'block';
  tip.style.left = Math.min(e.clientX + 14, innerWidth - tip.offsetWidth - 8) + 'px';
  tip.style.top = Math.min(e.clientY + 14, innerHeight - tip.offsetHeight - 8) + 'px';
  cursor.setAttribute('x1', X(i + .5)); cursor.setAttribute('x2', X(i + .5)); cursor.setAttribute('stroke-opacity', .6);
});
svg.addEventListener('mouseleave', hide);
"""


def _steady(rows: list[list[int]]) -> list[list[int]]:
    """Without the blocks that lived before the first step, one by one; their sum stays."""
    first = next((i for i, row in enumerate(rows) if row[1] > 0), 0)
    return rows[max(first - 1, 0) :]


def _thin(rows: list[list[int]]) -> list[list[int]]:
    """At most _POINTS rows: of each run the highest, so that the peak stays."""
    if len(rows) <= _POINTS:
        return rows
    size = -(-len(rows) // _POINTS)
    return [max(rows[i : i + size], key=lambda r: sum(r[5:])) for i in range(0, len(rows), size)]


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    cells = "".join(f"<th>{html.escape(h)}</th>" for h in head)
    body = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{cells}</tr>{body}</table></div>'


def _heading(settings: dict[str, Any]) -> tuple[str, str]:
    """(title, a line of the settings) in words."""
    title = str(settings.get("model") or settings.get("step"))
    steps = f"{settings['steps']} steps" if settings.get("steps", 1) != 1 else "1 step"
    if "input_shape" not in settings:
        return html.escape(title), f"{steps} of a function"
    shapes = [" × ".join(map(str, shape)) for shape in settings["input_shape"]]
    parts = [f"input {', '.join(shapes)} {settings['dtype']}"]
    if settings["train"]:
        parts += [f"loss {settings['loss']}", f"optimizer {settings['optimizer']}", f"{steps} of training"]
        title += ", training"
    else:
        parts.append(f"{steps} of inference")
        title += ", inference"
    return html.escape(f"{title}, batch of {settings['input_shape'][0][0]}"), html.escape(", ".join(parts))


def page(report: Any, budget: int | None) -> str:
    """The page of a :class:`fastcnn.memory.Report`."""
    points = report._points()
    data = {
        "rows": _thin(_steady(points["rows"])),
        "texts": points["texts"],
        "categories": list(CATEGORIES),
        "colours": list(_COLOURS),
        "peak": report.peak_bytes,
        "budget": budget,
    }
    found = report.by_category()
    swatch = {name: f'<i style="background:{colour}"></i>' for name, colour in zip(CATEGORIES, _COLOURS)}
    used = [n for i, n in enumerate(CATEGORIES) if any(r[5 + i] for r in points["rows"])]
    legend = "".join(f"<span>{swatch[n]}{n}</span>" for n in used)
    verdict = ""
    if budget is not None:
        room = budget - report.peak_bytes
        word = '<b class="ok">Fits</b>' if room >= 0 else '<b class="no">Does not fit</b>'
        verdict = f"<p>{word}: budget {budget:,} bytes ({format_bytes(budget)}), "
        verdict += f"{abs(room):,} {'to spare' if room >= 0 else 'too many'}.</p>"
    context = ""
    if report.context:
        low, high = report.device_bytes
        source = html.escape(report.context.source)
        context = f"<p>With the driver's context {format_bytes(low)} to {format_bytes(high)}: {source}.</p>"
    categories = _table(
        ("at the peak", "bytes", "", "share"),
        [
            (swatch[n] + n, f"{v:,}", format_bytes(v), f"{100 * v / max(report.peak_bytes, 1):.1f} %")
            for n, v in found.items()
            if v
        ],
    )
    holders = _table(
        ("largest holders at the peak", "layer", "bytes", ""),
        [
            (
                swatch[c] + html.escape(holder_text(c, op)),
                html.escape(layer),
                f"{v:,}",
                format_bytes(v),
            )
            for c, op, layer, v in report.holders(12)
        ],
    )
    layers = _table(
        ("layer", "", "parameters", "gradients", "optimizer", "saved", "workspace", "most", "at the peak"),
        [
            (html.escape(r.path or "(no layer)"), html.escape(r.kind), *(format_bytes(v) if v else "" for v in r[2:9]))
            for r in report.by_layer()
        ],
    )  # fmt: skip
    title, settings = _heading(report.settings)
    text = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Memory of {title}</title>
<style>{_STYLE}</style>
<h1>{title}: peak {format_bytes(report.peak_bytes)}</h1>
<p><b>{report.peak_bytes:,} bytes</b> at <b>{html.escape(str(report.peak_at))}</b></p>{verdict}
<p>{settings}; the allocator takes {report.reserved_bytes:,} bytes in segments, of
{format_bytes(report.total_bytes)} on {html.escape(report.device)}.</p>{context}
<h2>Memory over time</h2>
<svg id="chart" viewBox="0 0 1040 420" role="img" aria-label="allocated bytes over time by category"></svg>
<p class="legend">{legend}</p><div id="tip"></div>
<h2>By category</h2>{categories}
<h2>Largest holders</h2>{holders}
<h2>By layer</h2>{layers}
<script type="application/json" id="data">{text}</script>
<script>{_SCRIPT}</script></html>
"""
