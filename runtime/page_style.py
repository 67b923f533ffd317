"""The look of a page: one column, calm type, colours for light and dark."""

STYLE = """
:root { color-scheme: light dark; --paper: #fdfdfb; --card: #ffffff; --ink: #1f2328; --faint: #667079; --rule: #e3e5e1;
  --accent: #2a6f97; --series-0: #2a6f97; --series-1: #d1603d; --series-2: #4f8a4c; --series-3: #8d5a97;
  --series-4: #b58900; --series-5: #3a9a9a; --series-6: #a33f5b; --series-7: #6b7280; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --card: #1b1f23; --ink: #e4e6e8; --faint: #97a1aa;
  --rule: #2d3338; --accent: #7cc0e6; --series-0: #7cc0e6; --series-1: #f08f6c; --series-2: #8cc98a;
  --series-3: #c99ad3; --series-4: #e3bf4b; --series-5: #6fd0d0; --series-6: #e58aa3; --series-7: #a9b1ba; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 2.5rem 1.25rem 5rem; }
header { border-bottom: 1px solid var(--rule); margin-bottom: 1.5rem; padding-bottom: 1rem; }
h1 { font-size: clamp(1.7rem, 4vw, 2.5rem); line-height: 1.15; letter-spacing: -0.02em; margin: 0 0 .5rem; }
h2 { font-size: 1.45rem; letter-spacing: -0.01em; margin: 3rem 0 .75rem; }
h3 { font-size: 1.08rem; margin: 2rem 0 .5rem; }
p { max-width: 46rem; margin: .6rem 0; }
.subtitle { color: var(--faint); font-size: 1.05rem; margin: 0; }
a { color: var(--accent); }
code { font: .9em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; background: var(--rule);
  padding: .08em .35em; border-radius: 4px; }
nav { display: flex; flex-wrap: wrap; gap: .35rem .5rem; margin-top: 1rem; font-size: .92rem; }
nav a { text-decoration: none; border: 1px solid var(--rule); border-radius: 99px; padding: .1rem .75rem; }
nav a:hover { border-color: var(--accent); }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .93rem; font-variant-numeric: tabular-nums; }
th, td { padding: .38rem .8rem; border-bottom: 1px solid var(--rule); text-align: right; vertical-align: top; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { color: var(--faint); font-weight: 600; border-bottom: 2px solid var(--rule); }
td.text, th.text { text-align: left; }
tr.strong td { font-weight: 650; }
figure { margin: 1rem 0; }
figcaption { color: var(--faint); font-size: .9rem; margin-top: .35rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem; margin: 1rem 0; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; overflow: hidden; }
.card img { display: block; width: 100%; }
.card div { padding: .6rem .85rem .8rem; font-size: .9rem; line-height: 1.45; }
.card b { display: block; color: var(--faint); font-size: .74rem; letter-spacing: .05em; text-transform: uppercase;
  margin-top: .45rem; }
.grid-images td, .grid-images th { text-align: center; border: 0; padding: .3rem; vertical-align: middle; }
.grid-images td:first-child, .grid-images th:first-child { text-align: left; max-width: 20rem; font-size: .86rem;
  padding-right: 1rem; line-height: 1.4; }
.grid-images img { display: block; width: 7rem; border-radius: 6px; image-rendering: auto; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin: 1rem 0; }
.facts div { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: .7rem .9rem; }
.facts strong { display: block; font-size: 1.35rem; letter-spacing: -0.02em; }
.facts span { color: var(--faint); font-size: .86rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem 2rem; }
.charts figure { margin: 0; }
svg.chart { display: block; width: 100%; height: auto; max-width: 46rem; color: var(--ink); }
svg.chart text { font: 12px system-ui, sans-serif; fill: var(--faint); }
svg.chart text.label { fill: currentColor; }
svg.chart .grid { stroke: var(--rule); }
svg.chart .reference { stroke: var(--faint); stroke-dasharray: 5 4; }
svg.chart polyline { fill: none; stroke: var(--colour); stroke-width: 2; stroke-linejoin: round; }
svg.chart circle, svg.chart rect { fill: var(--colour); }
svg.chart .band { fill: var(--colour); opacity: .16; }
svg.chart .whisker { stroke: currentColor; fill: none; stroke-width: 1.4; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; list-style: none; padding: 0; margin: .3rem 0 0;
  font-size: .88rem; }
.legend i { display: inline-block; width: .8rem; height: .8rem; border-radius: 3px; background: var(--colour);
  margin-right: .4rem; vertical-align: -.06rem; }
details { margin: 1rem 0; }
summary { cursor: pointer; color: var(--accent); }
"""

SERIES_STYLE = "".join(f".series-{i} {{ --colour: var(--series-{i}); }}\n" for i in range(8))
