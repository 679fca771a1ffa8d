"""The look of the page, light and dark, for a desk and a phone."""

__all__ = ["STYLE"]

STYLE = """
:root{color-scheme:light dark;--ground:#fff;--ink:#1b1f24;--soft:#5a6570;--rule:#d8dee4;
--bar:#d9e8f8;--panel:#f5f7f9;--side0:#1f66b5;--side1:#bf5413;--good:#1a7f37;--mixed:#9a6700;
--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ground:#13171c;--ink:#e3e8ed;--soft:#98a4b0;
--rule:#303841;--bar:#1d3d5e;--panel:#1b2127;--side0:#6fb2f6;--side1:#f29a5d;--good:#4cc26b;
--mixed:#e0b040;--bad:#ff7b72}}*{box-sizing:border-box}
body{margin:auto;padding:1.5rem 1rem 4rem;max-width:70rem;background:var(--ground);
color:var(--ink);font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.25;margin:0}h2{font-size:1.25rem;margin:2.5rem 0 0}
h3{font-size:1rem;margin:1.5rem 0 .5rem}p{margin:.25rem 0}ul{margin:.4rem 0 0;padding-left:1.2rem}
.soft,dd,small,figcaption,figure span,thead,.aside,summary{color:var(--soft)}
.aside th{font-style:italic}
.box{margin:1.25rem 0;padding:.75rem 1rem;background:var(--panel);border-radius:.4rem;
border-left:.35rem solid var(--mark)}.box span{color:var(--mark);font-weight:700}
h1~.box p{font-size:1.15rem}
.good{--mark:var(--good)}.mixed{--mark:var(--mixed)}.bad{--mark:var(--bad)}
section .box{margin:.75rem 0;padding:.5rem 1rem}summary{cursor:pointer;margin:.5rem 0}
.tiles{display:grid;gap:1rem 2rem;margin:.75rem 0;--least:26rem;--wide:4.5rem;
grid-template-columns:repeat(auto-fill,minmax(min(100%,var(--least)),1fr))}
.curves{--least:20rem}.broad{--least:40rem}
.wide{overflow-x:auto;min-width:0}
table{width:100%;border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600}tr{border-bottom:1px solid var(--rule)}
th{text-align:left;font-weight:400}.scores thead th{text-align:right;vertical-align:bottom}
th,td{padding:.3rem .4rem;overflow-wrap:normal;vertical-align:top}
.scores tbody td{text-align:right;width:var(--wide);--share:0%;background:
linear-gradient(var(--bar) 0 0) .3rem .25rem/calc(var(--share)*.93) 1.5em no-repeat}
.broad{--wide:8rem}.own{background:var(--panel)}.own th{font-weight:600}
.scores tbody th{min-width:8rem;position:sticky;left:0;background:var(--ground)}
.scores .own th{background:var(--panel)}small{display:block;line-height:1.25;font-weight:400}
td small{font-size:.75em;white-space:nowrap}code{white-space:nowrap}
.checks td:nth-child(n+3):nth-child(-n+4){text-align:right}
i{display:inline-block;width:.9em;height:.9em;vertical-align:-.1em;border:1px solid var(--rule)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:.5rem 0;
font-size:.9rem}dd{margin:0}
figure{margin:0;display:grid;grid-template-columns:repeat(var(--n),1fr);gap:.35rem;
align-content:start}
figcaption{grid-column:1/-1;font-size:.85rem}figure span{font-size:.75rem;line-height:1.3}
img{display:block;width:100%;image-rendering:pixelated;border-radius:2px}
.photos img{image-rendering:auto}
svg{width:100%;font-size:11px;fill:var(--soft)}.end{text-anchor:end}.mid{text-anchor:middle}
.grid{stroke:var(--rule)}.even{stroke:var(--soft);stroke-dasharray:4 3}
.curve{fill:none;stroke-width:1.5;stroke-linejoin:round;stroke-linecap:round}
path.side0{stroke:var(--side0)}tspan.side0{fill:var(--side0)}
path.side1{stroke:var(--side1)}tspan.side1{fill:var(--side1)}
pre{overflow-x:auto;font-size:.8rem;background:var(--panel);padding:.75rem;overflow-wrap:normal}
@media(max-width:40rem){table{font-size:.8rem}th,td{padding:.25rem .2rem}
.tiles{--wide:3.2rem}.scores tbody th{min-width:5.5rem}
.broad figure{grid-template-columns:repeat(var(--few),1fr)}
dl{display:block}dd{margin:0 0 .5rem}}
"""
