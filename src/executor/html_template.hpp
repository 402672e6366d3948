// The timeline page. @DATA@ is replaced by its data.
#pragma once

namespace braid {

inline constexpr const char* kHtmlTemplate = R"html(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Timeline</title>
<style>
body { margin: 0; font: 13px sans-serif; color: #222; background: #fff; }
h1 { font-size: 16px; margin: 10px 14px 2px; }
p { margin: 2px 14px 8px; color: #666; }
canvas { display: block; width: 100%; cursor: grab; }
#tip { position: fixed; display: none; background: #222; color: #fff; padding: 6px 9px;
  border-radius: 4px; pointer-events: none; white-space: pre; font: 12px monospace; }
</style>
</head>
<body>
<h1 id="title"></h1>
<p>Wheel: zoom. Drag: move. Double click: all. A lighter color is a later round; a red border is
micro-batch 1; hatched is waiting.</p>
<canvas id="view"></canvas>
<div id="tip"></div>
<script>
"use strict";
const data = @DATA@;
const LEFT = 90, RIGHT = 16, LANE = 34, HEAD = 30, AXIS = 26;
const canvas = document.getElementById("view"), tip = document.getElementById("tip");
const paint = canvas.getContext("2d");
document.title = data.title;
document.getElementById("title").textContent = data.title;

const last = Math.max(1, ...data.timelines.flatMap(t => t.spans.map(s => s.end)));
const height = AXIS + data.timelines.reduce((h, t) => h + HEAD + LANE * t.lanes.length, 0) + 10;
let from = 0, to = last, width = 0, boxes = [], dragged = null;

const x = us => LEFT + (us - from) / (to - from) * (width - LEFT - RIGHT);
const us = px => from + (px - LEFT) / (width - LEFT - RIGHT) * (to - from);

function step() {  // of the axis: 1, 2 or 5 times a power of ten
  const rough = (to - from) / Math.max(2, width / 110), power = 10 ** Math.floor(Math.log10(rough));
  return power * (rough / power > 5 ? 10 : rough / power > 2 ? 5 : rough / power > 1 ? 2 : 1);
}

function box(span, top) {
  const begin = x(span.start), end = Math.max(x(span.end), begin + 1);
  if (end < LEFT || begin > width) return;
  paint.fillStyle = span.color;
  paint.fillRect(begin, top, end - begin, LANE - 6);
  const waits = (end - begin) * Math.min(1, span.waited / Math.max(1e-9, span.end - span.start));
  paint.strokeStyle = "rgba(0,0,0,0.25)";
  paint.lineWidth = 1;
  for (let at = end - waits; at < end - 4; at += 5) {  // a receive waits before its last work
    paint.beginPath();
    paint.moveTo(at, top + LANE - 6);
    paint.lineTo(at + 5, top);
    paint.stroke();
  }
  paint.strokeStyle = span.batch ? "#d33" : "#333";
  paint.strokeRect(begin, top, end - begin, LANE - 6);
  boxes.push({ begin, end, top, span });
  const room = end - Math.max(begin, LEFT) - 6;
  if (room < 14) return;
  paint.save();
  paint.beginPath();
  paint.rect(Math.max(begin, LEFT), top, room + 4, LANE);
  paint.clip();
  paint.fillStyle = "#111";
  paint.fillText(span.name, Math.max(begin, LEFT) + 4, top + 18);
  paint.restore();
}

function draw() {
  const ratio = window.devicePixelRatio || 1;
  width = canvas.clientWidth;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  canvas.style.height = height + "px";
  paint.scale(ratio, ratio);
  paint.font = "12px sans-serif";
  boxes = [];
  const every = step();
  paint.textAlign = "center";
  for (let at = Math.ceil(from / every) * every; at <= to; at += every) {
    paint.fillStyle = "#888";
    paint.fillText(+at.toFixed(3) + " µs", x(at), 16);
    paint.fillStyle = "#eee";
    paint.fillRect(x(at), 22, 1, height);
  }
  paint.textAlign = "left";
  let top = AXIS;
  for (const timeline of data.timelines) {
    const end = Math.max(...timeline.spans.map(s => s.end));
    paint.fillStyle = "#222";
    paint.font = "bold 13px sans-serif";
    paint.fillText(timeline.name + ": " + end.toFixed(1) + " µs (rank " + timeline.rank + ")", 14,
                   top + 19);
    paint.font = "12px sans-serif";
    top += HEAD;
    for (const span of timeline.spans) box(span, top + LANE * span.lane);
    paint.fillStyle = "#fff";
    paint.fillRect(0, top, LEFT - 2, LANE * timeline.lanes.length);
    paint.fillStyle = "#555";
    timeline.lanes.forEach((lane, i) => paint.fillText(lane, 24, top + LANE * i + 18));
    top += LANE * timeline.lanes.length;
  }
  canvas.dataset.boxes = boxes.length;  // for who tests the page
}

function show(event) {
  const rect = canvas.getBoundingClientRect();
  const px = event.clientX - rect.left, py = event.clientY - rect.top;
  const hit = boxes.find(b => px >= b.begin && px <= b.end && py >= b.top && py <= b.top + LANE - 6);
  tip.style.display = hit ? "block" : "none";
  if (!hit) return;
  const s = hit.span, number = value => value.toFixed(2).padStart(9);
  tip.textContent = s.name + "\nstart   " + number(s.start) + " µs\nend     " + number(s.end) +
    " µs\nlasts   " + number(s.end - s.start) + " µs\nwaits   " + number(s.waited) + " µs\nSMs     " +
    (s.sms || "what is free") + "\nround   " + s.round + " of " + s.rounds + "\nmicro-batch " +
    s.batch + ", layer " + s.layer;
  tip.style.left = Math.min(event.clientX + 14, window.innerWidth - 250) + "px";
  tip.style.top = Math.min(event.clientY + 14, window.innerHeight - 150) + "px";
}

canvas.addEventListener("wheel", event => {
  event.preventDefault();
  const at = us(event.clientX - canvas.getBoundingClientRect().left);
  const factor = Math.exp(event.deltaY * 0.0015);
  if ((to - from) * factor < 0.01) return;
  from = Math.max(0, at - (at - from) * factor);
  to = Math.min(last, at + (to - at) * factor);
  draw();
}, { passive: false });
canvas.addEventListener("pointerdown", event => { dragged = event.clientX; });
window.addEventListener("pointerup", () => { dragged = null; });
canvas.addEventListener("pointermove", event => {
  if (dragged === null) return show(event);
  const moved = (dragged - event.clientX) / (width - LEFT - RIGHT) * (to - from);
  const by = Math.max(-from, Math.min(last - to, moved));
  dragged = event.clientX;
  from += by;
  to += by;
  draw();
});
canvas.addEventListener("pointerleave", () => { tip.style.display = "none"; });
canvas.addEventListener("dblclick", () => { from = 0; to = last; draw(); });
window.addEventListener("resize", draw);
draw();
</script>
</body>
</html>
)html";

}  // namespace braid
