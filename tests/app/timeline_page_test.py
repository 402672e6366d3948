"""The page of `braid predict --html`, in headless Chromium: its script runs through and draws every
operation, and the picture is not empty. Exit status 77, skipped, where there is no Chromium.

    timeline_page_test.py BRAID
"""

import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome-headless-shell")


def colors(png: bytes) -> set[bytes]:
    """The colors of an 8-bit RGB or RGBA picture; rows are as their filters left them."""
    at, data = 8, b""
    width, _, depth, kind = struct.unpack(">IIBB", png[16:26])
    assert depth == 8 and kind in (2, 6), (depth, kind)
    while at < len(png):
        length, name = struct.unpack(">I4s", png[at:at + 8])
        if name == b"IDAT":
            data += png[at + 8:at + 8 + length]
        at += 12 + length
    step = 3 if kind == 2 else 4
    raw = zlib.decompress(data)
    return {raw[i:i + step] for i in range(1, len(raw), step) if i % (width * step + 1)}


def main(braid: str) -> int:
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        print("skipped: no Chromium")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        page, picture = pathlib.Path(folder, "page.html"), pathlib.Path(folder, "page.png")
        subprocess.run([braid, "predict", "--schedule", "peo-3", "--html", page], check=True,
                       stdout=subprocess.DEVNULL)
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,500",
                   f"--user-data-dir={folder}/profile"]
        dom = subprocess.run([*command, "--dump-dom", page.as_uri()], check=True, timeout=120,
                             capture_output=True, text=True).stdout
        subprocess.run([*command, f"--screenshot={picture}", page.as_uri()], check=True,
                       timeout=120, capture_output=True)
        drawn = re.search(r'data-boxes="(\d+)"', dom)
        spans = page.read_text().count('"kind":')
        assert drawn and int(drawn.group(1)) == spans > 20, (drawn, spans)
        assert "deepseek-v3 on h20" in re.search(r"<h1[^>]*>([^<]*)", dom).group(1)
        found = len(colors(picture.read_bytes()))
        assert found > 30, f"{found} colors"
        print(f"{spans} operations drawn, {found} colors")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
