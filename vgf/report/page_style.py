"""Style sheet of the report page: one column of cards, for wide and narrow windows, light, dark and paper."""

from __future__ import annotations

from vgf.report.palette import css_variables

__all__ = ["STYLE"]

_LAYOUT = """
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);
  font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1120px;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.1rem;font-weight:600;margin:0;overflow-wrap:anywhere}
h2{font-size:1.05rem;font-weight:650;margin:0 0 .75rem}
p{margin:.4rem 0}
.muted,dt,.note{color:var(--muted)}
.note{font-size:.86rem;margin:.8rem 0 0}
.headline{font-size:1.45rem;line-height:1.4;font-weight:500;margin:.9rem 0 .4rem;max-width:48rem;
  text-wrap:pretty;overflow-wrap:anywhere}
section{background:var(--paper);border:1px solid var(--grid);border-radius:12px;padding:1.25rem 1.4rem;
  margin-top:1.25rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:.8rem;margin-top:1.4rem}
.tile{background:var(--paper);border:1px solid var(--grid);border-radius:12px;padding:.9rem 1.1rem}
.tile b{display:block;font-size:1.9rem;font-weight:600;line-height:1.25;font-variant-numeric:tabular-nums}
.tile span{color:var(--muted);font-size:.86rem;display:block;overflow-wrap:anywhere}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(420px,100%),1fr));gap:1.2rem}
.multiples{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(240px,100%),1fr));gap:1rem 1.2rem}
.chart{margin:0;min-width:0;max-width:560px}
.chart svg{display:block;width:100%;height:auto;overflow:visible}
.chart svg *{stroke-linejoin:round;stroke-linecap:butt}
.chart text{font-family:inherit!important}
.films{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(240px,45%),1fr));gap:1rem 1.2rem}
.films figure{margin:0;min-width:0}
.films img{display:block;width:100%;max-width:300px;border-radius:8px;background:var(--wash)}
.films figcaption{color:var(--muted);font-size:.82rem;margin-top:.35rem;max-width:300px}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;margin:.2rem 0 .9rem;font-size:.9rem}
.chip{display:inline-block;width:.7em;height:.7em;border-radius:50%;margin-right:.45em}
.scroll{overflow-x:auto;margin:0 -.4rem}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.42rem .65rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--grid)}
th{color:var(--muted);font-weight:500;vertical-align:bottom}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--paper)}
small{display:block;color:var(--muted);font-weight:400;font-size:.82em;line-height:1.2}
tr.configured td{background:var(--wash);font-weight:600}
tbody tr:last-child td{border-bottom:0}
.range{width:110px;height:14px;vertical-align:middle}
dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.35rem 1.4rem;margin:0;font-size:.93rem}
dd{margin:0;overflow-wrap:anywhere}
code,pre{font:.86em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{margin:.6rem 0 0;padding:.8rem 1rem;overflow-x:auto;background:var(--wash);border-radius:8px}
details{margin-top:.9rem}
summary{cursor:pointer;color:var(--muted)}
ul{margin:0;padding-left:1.15rem}
li{margin:.3rem 0;max-width:52rem}
@media(max-width:600px){
  main{padding:1.25rem .8rem 3rem}
  .headline{font-size:1.2rem}
  section{padding:1rem .9rem}
  .tiles{grid-template-columns:1fr 1fr}
  .multiples{grid-template-columns:1fr 1fr;gap:.8rem}
  .tile{padding:.7rem .8rem}
  .tile b{font-size:1.5rem}
  dl{grid-template-columns:1fr;gap:0}
  dd{margin-bottom:.55rem}
}
@media print{
  body{background:none;font-size:11px}
  main{max-width:none;padding:0}
  section,.tile{border-color:#ccc}
  section{padding:.7rem .8rem;margin-top:.8rem}
  .tile,.chart,tr,dl,ul{break-inside:avoid}
  h2{break-after:avoid}
  .panels{grid-template-columns:1fr 1fr}
  .multiples{grid-template-columns:repeat(4,1fr);gap:.5rem}
  .tiles{grid-template-columns:repeat(4,1fr)}
  .scroll{overflow:visible}
  th,td{padding:.25rem .4rem}
  pre{white-space:pre-wrap;overflow-wrap:anywhere}
}
"""

_LIGHT = css_variables(dark=False) + "--ground:#f4f5f7;--wash:#eef3f8;"
_DARK = css_variables(dark=True) + "--ground:#121519;--wash:#232a34;"

_SCHEMES = f":root{{color-scheme:light dark;{_LIGHT}}}@media screen and (prefers-color-scheme:dark){{:root{{{_DARK}}}}}"

STYLE = _SCHEMES + _LAYOUT
