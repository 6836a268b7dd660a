"""Text and Markdown tables of any cells."""

from __future__ import annotations

from harexport.utils.tables import escape_markdown, format_markdown, format_text


def test_a_text_table_is_aligned() -> None:
    assert format_text([("model", "KB"), ("a", "1.0"), ("long name", "12.5")]).splitlines() == [
        "model        KB",
        "---------------",
        "a           1.0",
        "long name  12.5",
    ]


def test_names_cannot_break_a_text_table() -> None:
    lines = format_text([("model", "KB"), ("a\nb\x1b[2J", "1")]).splitlines()
    assert lines == ["model    KB", "-----------", "a�b�[2J   1"]


def test_names_cannot_break_a_markdown_table() -> None:
    table = format_markdown([("model", "KB"), ("a|b\nc <b>\x1b", "1")])
    assert table.splitlines() == ["| model | KB |", "|---|---:|", "| a\\|b c &lt;b&gt;� | 1 |"]
    assert escape_markdown("a & b\r\n\tc") == "a &amp; b� c"
