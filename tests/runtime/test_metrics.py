"""Windows of metrics, JSON lines and progress."""

import io
import json

from runtime.metrics import JsonLines, Window
from runtime.progress import Progress


def test_window_divides_sums_by_counts():
    window = Window()
    window.add({"loss": 6.0, "correct": 2.0}, 2, grad_norm=1.0)
    window.add({"loss": 2.0, "correct": 2.0}, 6, grad_norm=3.0)
    copy = Window()
    copy.load_state_dict(json.loads(json.dumps(window.state_dict())))
    for each in (window, copy):
        assert each.close() == {"loss": 1.0, "correct": 0.5, "grad_norm": 2.0}
    assert window.state_dict() == Window().state_dict()


def test_shares_come_with_wilsons_interval():
    window = Window()
    for count in (3.0, 5.0):
        window.add({"loss": 1.0}, 10, grad_norm=1.0, shares={"share/red": (count, 10.0), "loss/red": (4.0, count)})
    window.add({"loss": 1.0}, 10, grad_norm=1.0, shares={"share/none": (0.0, 0.0)})
    found = window.close()
    # Newcombe 1998, Statistics in Medicine 17, equation 3, of 8 in 20.
    assert found["share/red"] == 0.4 and found["loss/red"] == 1.0
    assert abs(found["share_low/red"] - 0.2188) < 1e-4 and abs(found["share_high/red"] - 0.6134) < 1e-4
    assert not [name for name in found if "none" in name or name.startswith("share_low/loss")]


def test_json_lines_forget_half_lines_and_what_came_after(tmp_path):
    lines = JsonLines(tmp_path / "sub" / "metrics.jsonl")
    assert list(lines.rows()) == []
    for update in (4, 8, 12):
        lines.append({"update": update, "loss": 0.1 * update})
    before = lines.path.read_bytes()
    with lines.path.open("a") as file:
        file.write('{"update": 16, "lo')
    assert [row["update"] for row in lines.rows()] == [4, 8, 12]
    lines.truncate(12)
    assert lines.path.read_bytes() == before
    lines.truncate(8)
    assert [row["update"] for row in lines.rows()] == [4, 8]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_prints_plain_lines_outside_a_terminal(monkeypatch):
    monkeypatch.setattr("runtime.progress.SECONDS_BETWEEN_LINES", 0.0)
    screen = io.StringIO()
    with Progress(total=10, initial=4, unit="updates", label="toy", file=screen) as progress:
        progress.advance(3)
        progress.show({"loss": 0.123456, "note": "fine"})
    first, last = screen.getvalue().splitlines()
    assert first.startswith("toy: 7/10 updates, ") and first.endswith(" left, loss 0.1235, note fine")
    assert last.startswith("toy: 7/10 updates, ")


def test_progress_is_a_bar_with_rate_and_eta_on_a_terminal():
    screen = Terminal()
    with Progress(total=4, unit="updates", label="toy", file=screen) as progress:
        progress.advance(4)
        progress.show({"loss": 0.5})
    assert "toy: 100%" in screen.getvalue() and "4/4" in screen.getvalue() and "loss=0.5" in screen.getvalue()


def test_progress_can_be_silent():
    screen = Terminal()
    with Progress(total=4, unit="updates", label="toy", enabled=False, file=screen) as progress:
        progress.advance(4)
        progress.show({"loss": 0.5})
    assert screen.getvalue() == ""
