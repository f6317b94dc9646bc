#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws the pictures of the documents as SVG: `scripts/draw-pictures.py [FOLDER]`.

FOLDER is docs/pictures unless another one is given. The pictures carry their own background and
follow `prefers-color-scheme`, so they are readable on a light and on a dark page. The output
depends on this file alone; tests/tests/architecture.rs compares it with what is committed.
"""

import pathlib
import sys
from xml.sax.saxutils import escape

STYLE = """
  .page { fill: #ffffff; stroke: #d0d7de }
  .trusted { fill: #eefbf1; stroke: #2da44e }
  .hostile { fill: #fff4ea; stroke: #bc4c00 }
  .group { fill: none; stroke: #8c959f; stroke-dasharray: 5 4 }
  .box { fill: #ffffff; stroke: #57606a }
  .keys { fill: #ddf4ff; stroke: #0969da; stroke-width: 2 }
  .wire { fill: none; stroke: #57606a; stroke-width: 1.5; marker-start: url(#tip);
          marker-end: url(#tip) }
  .oneway { marker-start: none }
  .starts { stroke-dasharray: 4 4 }
  .tip { fill: #57606a }
  .number { fill: #57606a }
  .digit { fill: #ffffff; font-size: 12px; font-weight: 600 }
  text { fill: #1f2328; font: 14px system-ui, -apple-system, "Segoe UI", sans-serif;
         text-anchor: middle }
  .left { text-anchor: start }
  .title { font-weight: 600 }
  .small { font-size: 12px; fill: #57606a }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; stroke: #30363d }
    .trusted { fill: #0f2417; stroke: #2ea043 }
    .hostile { fill: #2b1a0d; stroke: #db6d28 }
    .group { stroke: #6e7681 }
    .box { fill: #161b22; stroke: #8b949e }
    .keys { fill: #0c2d6b; stroke: #58a6ff }
    .wire { stroke: #8b949e }
    .tip { fill: #8b949e }
    .number { fill: #8b949e }
    .digit { fill: #0d1117 }
    text { fill: #e6edf3 }
    .small { fill: #9da7b1 }
  }
"""

LINE_HEIGHT = 18


class Picture:
    """An SVG under construction. Coordinates are pixels, from the top left corner."""

    def __init__(self, width, height, title, description):
        self.width, self.height = width, height
        self.title, self.description = title, description
        self.parts = []

    def rect(self, kind, x, y, width, height, radius=8):
        self.parts.append(
            f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}"'
            f' rx="{radius}"/>'
        )

    def text(self, x, y, words, kind=""):
        css = f' class="{kind}"' if kind else ""
        self.parts.append(f'<text x="{x}" y="{y}"{css}>{escape(words)}</text>')

    def box(self, x, y, width, height, name, lines=(), kind="box"):
        """A box with a name, and smaller lines below it, centred as a whole."""
        self.rect(kind, x, y, width, height)
        first = y + height / 2 + 5 - len(lines) * LINE_HEIGHT / 2
        self.text(x + width / 2, round(first), name, "title")
        for place, line in enumerate(lines, 1):
            self.text(x + width / 2, round(first + place * LINE_HEIGHT), line, "small")

    def zone(self, kind, x, y, width, height, name, line):
        self.rect(kind, x, y, width, height, 12)
        self.text(x + 14, y + 24, name, "title left")
        self.text(x + 14, y + 42, line, "small left")

    def wire(self, points, kind="wire"):
        path = " ".join(f"{x},{y}" for x, y in points)
        self.parts.append(f'<polyline class="{kind}" points="{path}"/>')

    def number(self, x, y, digit):
        self.parts.append(f'<circle class="number" cx="{x}" cy="{y}" r="9"/>')
        self.text(x, y + 4, str(digit), "digit")

    def svg(self):
        width, height = self.width, self.height
        body = "\n".join(f"  {part}" for part in self.parts)
        return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"
     height="{height}" role="img" aria-labelledby="title description">
  <title id="title">{escape(self.title)}</title>
  <desc id="description">{escape(self.description)}</desc>
  <style>{STYLE}  </style>
  <defs>
    <marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"
            orient="auto-start-reverse"><path class="tip" d="M0,0 L8,4 L0,8 Z"/></marker>
  </defs>
  <rect class="page" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="12"/>
{body}
</svg>
"""


def overview():
    """Who holds keys, who sees ciphertext."""
    picture = Picture(
        900,
        250,
        "Wyng at a glance",
        "Volumes are sealed in the admin domain, which has no network. The network VM and the store"
        " see only packs of ciphertext, and answer a backup with receipts of fixed size.",
    )
    picture.zone("trusted", 15, 15, 395, 220, "Admin domain", "dom0: no network, holds the keys")
    picture.zone("hostile", 480, 15, 190, 220, "Network VM", "treated as hostile")
    picture.zone("hostile", 695, 15, 190, 220, "Store", "treated as hostile")
    picture.box(30, 95, 130, 70, "Volumes", ["disk images,", "block devices"])
    picture.box(220, 95, 170, 70, "wyngd", ["compresses, encrypts,", "packs"], "keys")
    picture.box(492, 95, 166, 70, "wyng-transport-vm", ["carries ciphertext"])
    picture.box(715, 95, 150, 70, "Blobs", ["packs of one size,", "names are hashes"])
    picture.wire([(161, 130), (219, 130)], "wire oneway")
    picture.text(190, 120, "read", "small")
    picture.wire([(391, 115), (491, 115)], "wire oneway")
    picture.text(445, 106, "packs", "small")
    picture.wire([(491, 147), (391, 147)], "wire oneway")
    picture.text(445, 166, "receipts", "small")
    picture.wire([(659, 130), (714, 130)])
    picture.text(210, 208, "wyng-ctl: the command line", "small")
    picture.text(575, 208, "no keys, no names", "small")
    picture.text(790, 208, "today: a folder", "small")
    return picture


def roles():
    """The processes and every wire between them, numbered as in ARCHITECTURE.md."""
    picture = Picture(
        1000,
        585,
        "The roles of wyngd and their wires",
        "Seven roles and a supervisor form the daemon. Control talks to wyng-ctl, spawner, volumes,"
        " keyholder and reader; volumes to the keyholder and to pool; the keyholder to transport; the spawner"
        " hands transport the pipes of the helper in the network VM, which reaches the store.",
    )
    picture.zone("trusted", 15, 15, 735, 555, "Admin domain", "dom0: no network")
    picture.zone("hostile", 790, 15, 195, 555, "Far end", "network VM: hostile")

    picture.rect("group", 180, 70, 555, 385, 12)
    picture.text(458, 92, "wyngd: the supervisor starts the roles, then hears no message", "small")

    picture.box(30, 115, 110, 60, "wyng-ctl", ["one command"])
    picture.box(350, 115, 150, 60, "control", ["queue, clients"])
    picture.box(600, 115, 120, 60, "spawner", ["starts far ends"])
    picture.box(195, 275, 100, 70, "reader", ["only looks"])
    picture.box(325, 275, 110, 70, "volumes", ["snapshots,", "changed ranges"])
    picture.box(470, 275, 100, 70, "keyholder", ["keys, format"], "keys")
    picture.box(610, 275, 110, 70, "transport", ["parses what", "comes back"])
    picture.box(225, 375, 80, 60, "pool", ["lvm"])
    picture.box(325, 485, 110, 46, "disks")
    picture.box(455, 485, 130, 46, "state directory")
    picture.box(804, 275, 168, 70, "wyng-transport-vm", ["the helper"])
    picture.box(804, 485, 168, 60, "store", ["ciphertext in blobs"])

    wires = [
        (1, [(141, 145), (349, 145)], (245, 145)),
        (2, [(425, 176), (425, 225), (520, 225), (520, 274)], (472, 225)),
        (3, [(390, 176), (390, 225), (245, 225), (245, 274)], (300, 225)),
        (4, [(407, 176), (407, 274)], (407, 250)),
        (5, [(436, 310), (469, 310)], (452, 330)),
        (6, [(501, 145), (599, 145)], (550, 145)),
        (7, [(660, 176), (660, 274)], (660, 225)),
        (8, [(571, 310), (609, 310)], (590, 330)),
        (9, [(721, 310), (803, 310)], (768, 310)),
        (10, [(345, 346), (345, 405), (306, 405)], (345, 380)),
    ]
    for digit, points, place in wires:
        one_way = " oneway" if digit == 7 else ""
        picture.wire(points, "wire" + one_way)
        picture.number(*place, digit)
    picture.wire([(721, 145), (888, 145), (888, 274)], "wire oneway starts")
    picture.text(820, 137, "starts", "small")
    picture.wire([(395, 484), (395, 346)])
    picture.wire([(265, 436), (265, 508), (324, 508)])
    picture.wire([(520, 346), (520, 484)])
    picture.wire([(520, 532), (520, 550), (208, 550), (208, 346)], "wire oneway")
    picture.wire([(888, 346), (888, 484)])
    return picture


PICTURES = {"overview.svg": overview, "roles.svg": roles}


def main():
    default = pathlib.Path(__file__).resolve().parent.parent / "docs" / "pictures"
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    for name, draw in PICTURES.items():
        (folder / name).write_text(draw().svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
