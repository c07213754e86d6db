"""What an agent says becomes paragraphs, lists, code and links, and never markup of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.timeout(120)]

SHOW = """async text => {
  const { showRich } = await import("/static/dashboard/js/rich.js");
  const place = document.createElement("div");
  showRich(place, text);
  return place.innerHTML;
}"""
LINK = 'rel="noopener noreferrer nofollow" target="_blank"'
CODE = "def f():\n    return '<img src=x onerror=alert(1)>'\n"
CASES = {
    "one\ntwo\n\nthree": "<p>one\ntwo</p><p>three</p>",
    "- a\n- b\n  goes on\n\n3. c\n4. d": '<ul><li>a</li><li>b goes on</li></ul><ol start="3"><li>c</li><li>d</li></ol>',
    "## Head #\ntext": "<h3>Head</h3><p>text</p>",
    "```python\nif a < b:\n    **no**\n```\nafter": "<pre><code>if a &lt; b:\n    **no**</code></pre><p>after</p>",
    "```\nnever closed": "<pre><code>never closed</code></pre>",
    "~~~~\n```\n~~~~": "<pre><code>```</code></pre>",
    "use `a <b>` and ``c`d``": "<p>use <code>a &lt;b&gt;</code> and <code>c`d</code></p>",
    "**bold** and *stressed*, 2 * 3 * 4": "<p><strong>bold</strong> and <em>stressed</em>, 2 * 3 * 4</p>",
    "see https://a.example/x?y=1.": f'<p>see <a href="https://a.example/x?y=1" {LINK}>https://a.example/x?y=1</a>.</p>',
    "[here](https://a.example/)": f'<p><a href="https://a.example/" {LINK}>here</a></p>',
    "[bad](javascript:alert(1))": "<p>[bad](javascript:alert(1))</p>",
    "[bad](data:text/html,x)": "<p>[bad](data:text/html,x)</p>",
    "<script>alert(1)</script>": "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>",
    '<img src=x onerror="alert(1)">': '<p>&lt;img src=x onerror="alert(1)"&gt;</p>',
    'https://a.example/"onmouseover="x': (
        f'<p><a href="https://a.example/" {LINK}>https://a.example/</a>"onmouseover="x</p>'
    ),
    "| a | **b** |\n|---|--:|\n| 1 \\| 2 | <i>3</i> |\nafter": (
        '<div class="table-frame" tabindex="0"><table><thead><tr><th>a</th><th class="is-right"><strong>b</strong></th>'
        '</tr></thead><tbody><tr><td>1 | 2</td><td class="is-right">&lt;i&gt;3&lt;/i&gt;</td></tr></tbody></table>'
        "</div><p>after</p>"
    ),
    "> said\n> so\n\n---\nend": "<blockquote>said\nso</blockquote><hr><p>end</p>",
    "```diff\n@@ -1 +1 @@\n-<b>old\n+new\n same\n```": (
        '<pre><code class="is-diff"><span class="diff-place">@@ -1 +1 @@\n</span><del>-&lt;b&gt;old\n</del>'
        "<ins>+new\n</ins> same</code></pre>"
    ),
    "![x](https://a.example/x.png)": (
        f'<p>!<a href="https://a.example/x.png" {LINK}>x</a></p>'
    ),
    "": "",
}  # fmt: skip


def test_rich_text_is_made_of_nodes(visit: Callable[..., Visit]) -> None:
    me = visit()
    me.open("/sign-in")
    shown = {text: me.page.evaluate(SHOW, text) for text in CASES}
    assert shown == CASES


def test_code_is_coloured_by_nodes_of_its_own_text(visit: Callable[..., Visit]) -> None:
    me = visit()
    me.open("/sign-in")
    coloured = me.page.evaluate(
        """async text => {
          const { colour } = await import("/static/dashboard/js/code.js");
          const code = document.createElement("code");
          code.textContent = text;
          await colour(code, "python");
          return [code.textContent, [...code.querySelectorAll(".hl-keyword")].map(word => word.textContent)];
        }""",
        CODE,
    )
    assert coloured == [CODE, ["def", "return"]]


def test_a_hostile_text_of_any_length_does_not_stop_the_page(visit: Callable[..., Visit]) -> None:
    me = visit()
    me.open("/sign-in")
    timed = """async text => {
      const { showRich } = await import("/static/dashboard/js/rich.js");
      const started = performance.now();
      showRich(document.createElement("div"), text);
      return performance.now() - started;
    }"""
    for piece in (
        "*a",
        "`",
        "[",
        "[a](https://",
        "https://x/(",
        "- ",
        "```\n",
        "**",
        "\n  x",
        "1. ",
        "|",
        "| ",
        "|-",
        "- -",
        "> ",
        "![a](",
    ):
        assert me.page.evaluate(timed, piece * (100_000 // len(piece))) < 2_000, piece
