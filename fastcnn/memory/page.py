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
:root { color-scheme: light dark; --ink: #1a1a1a; --dim: #666; --paper: #fff; --rule: #ddd; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --dim: #999; --paper: #16181c; --rule: #363a42; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
       max-width: 1080px; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
p { margin: .3rem 0; color: var(--dim); } b { color: var(--ink); }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--dim); font-size: 12px; }
.legend span { display: inline-block; margin-right: 1rem; white-space: nowrap; }
.legend i, td i { display: inline-block; width: .8em; height: .8em; margin-right: .4em; border-radius: 2px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { color: var(--dim); font-weight: 500; }
#tip { position: fixed; pointer-events: none; background: var(--paper); border: 1px solid var(--rule); padding: .4rem
       .6rem; border-radius: 6px; font-size: 13px; display: none; box-shadow: 0 2px 8px #0004; white-space: pre; }
.wide { overflow-x: auto; }
"""

_SCRIPT = """
const D = JSON.parse(document.getElementById('data').textContent), R = D.rows, n = R.length, K = D.categories.length;
const W = 1040, H = 380, L = 78, T = 14, B = 26, w = W - L - 8, h = H - T - B;
const total = R.map(r => r.slice(5).reduce((a, b) => a + b, 0));
const top_ = Math.max(D.peak, D.budget || 0) * 1.04 || 1;
const X = i => L + w * i / n, Y = v => T + h * (1 - v / top_);
const human = b => { let u = 0; while (b >= 1024 && u < 4) { b /= 1024; u++; }
  return (u ? b.toPrecision(4) : b) + ' ' + ['B', 'KiB', 'MiB', 'GiB', 'TiB'][u]; };
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
const unit = 2 ** Math.floor(Math.log2(top_ / 3));
for (let v = 0; v <= top_; v += unit) {
  make('line', {x1: L, x2: L + w, y1: Y(v), y2: Y(v), stroke: 'currentColor', 'stroke-opacity': .13});
  make('text', {x: L - 8, y: Y(v) + 4, 'text-anchor': 'end'}, human(v));
}
const line = (v, text, colour) => {
  make('line', {x1: L, x2: L + w, y1: Y(v), y2: Y(v), stroke: colour, 'stroke-dasharray': '6 4', 'stroke-width': 1.5});
  const t = make('text', {x: L + w - 4, y: Y(v) - 4, 'text-anchor': 'end'}, text); t.style.fill = colour; };
if (D.budget) line(D.budget, 'budget ' + human(D.budget), '#cc3311');
let step = 0, phase = '';
for (let i = 0; i < n; i++) {
  const p = D.texts[R[i][4]];
  if (R[i][1] !== step) { step = R[i][1];
    make('line', {x1: X(i), x2: X(i), y1: T, y2: T + h, stroke: 'currentColor', 'stroke-opacity': .5});
    make('text', {x: X(i) + 4, y: H - 8}, 'step ' + step); }
}
const at = total.indexOf(Math.max(...total));
make('circle', {cx: X(at + .5), cy: Y(total[at]), r: 4, fill: 'none', stroke: 'currentColor', 'stroke-width': 1.5});
const cursor = make('line', {y1: T, y2: T + h, stroke: 'currentColor', 'stroke-opacity': 0});
const tip = document.getElementById('tip');
svg.addEventListener('mousemove', e => {
  const box = svg.getBoundingClientRect(), x = (e.clientX - box.left) * W / box.width;
  const i = Math.floor((x - L) / w * n);
  if (i < 0 || i >= n) { tip.style.display = 'none'; cursor.setAttribute('stroke-opacity', 0); return; }
  const r = R[i], t = k => D.texts[r[k]];
  let s = human(total[i]) + '  (' + total[i].toLocaleString('en') + ' bytes)\\n' + (t(2) || 'start') +
    (t(3) ? ' in ' + t(3) : '') + (t(4) ? '\\n' + t(4) : '') + (r[1] ? (t(4) ? ', ' : '\\n') + 'step ' + r[1] : '');
  for (let c = 0; c < K; c++) if (r[5 + c]) s += '\\n' + D.categories[c].padEnd(11) + human(r[5 + c]);
  tip.textContent = s; tip.style.display = 'block'; tip.style.fontFamily = 'ui-monospace, monospace';
  tip.style.left = Math.min(e.clientX + 14, innerWidth - tip.offsetWidth - 8) + 'px';
  tip.style.top = Math.min(e.clientY + 14, innerHeight - tip.offsetHeight - 8) + 'px';
  cursor.setAttribute('x1', X(i + .5)); cursor.setAttribute('x2', X(i + .5)); cursor.setAttribute('stroke-opacity', .6);
});
svg.addEventListener('mouseleave', () => { tip.style.display = 'none'; cursor.setAttribute('stroke-opacity', 0); });
"""


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


def page(report: Any, budget: int | None) -> str:
    """The page of a :class:`fastcnn.memory.Report`."""
    points = report._points()
    data = {
        "rows": _thin(points["rows"]),
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
    settings = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in report.settings.items() if v is not None)
    verdict = ""
    if budget is not None:
        room = budget - report.peak_bytes
        verdict = f"<p><b>{'Fits' if room >= 0 else 'Does not fit'}</b>: budget {budget:,} bytes, "
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
    text = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Memory: {html.escape(str(report.settings.get("model") or report.settings.get("step")))}</title>
<style>{_STYLE}</style>
<h1>Peak {report.peak_bytes:,} bytes ({format_bytes(report.peak_bytes)})</h1>
<p>at <b>{html.escape(str(report.peak_at))}</b>; reserved {report.reserved_bytes:,} bytes of
{format_bytes(report.total_bytes)} on {html.escape(report.device)}</p>{context}{verdict}
<p>{html.escape(settings)}</p>
<h2>Memory over time, event by event</h2>
<svg id="chart" viewBox="0 0 1040 380" role="img" aria-label="allocated bytes over time by category"></svg>
<p class="legend">{legend}</p><div id="tip"></div>
<h2>By category</h2>{categories}
<h2>Largest holders</h2>{holders}
<h2>By layer</h2>{layers}
<script type="application/json" id="data">{text}</script>
<script>{_SCRIPT}</script></html>
"""
