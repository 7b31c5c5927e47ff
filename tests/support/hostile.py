"""What a page must survive: values that a browser or a spreadsheet would run, and a reader for what it would find."""

from html.parser import HTMLParser

PAYLOADS = [
    "<script>alert('x')</script>",
    "</script><b onclick=alert(1)>usage",
    "=cmd()",
    "\u202eevil",
    "<img src=x onerror=alert(1)>",
    "\"' onmouseover=alert(1) x='",
]
LONG = "a_very_long_name_" * 300


class Page(HTMLParser):
    """Tags, names of attributes, addresses and texts of a page, styles and scripts left out."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.addresses, self.texts, self.inside = set(), set(), [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.inside = tag
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}
        self.addresses += [value for name, value in attributes if name in ("href", "src")]

    def handle_endtag(self, _tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside not in ("style", "script") and data.strip():
            self.texts.append(data.strip())

    @property
    def text(self):
        return " ".join(self.texts)


def assert_inert(text):
    """A page of our own: no script, no handler, no address that runs, no sign that is not seen, no cell that is a formula."""
    page = Page(text)
    assert not page.tags & {"script", "img", "iframe", "object"}
    assert not {name for name in page.attributes if name.startswith("on")}
    assert all(not address.startswith(("javascript:", "data:", "//")) for address in page.addresses)
    assert "\u202e" not in text
    assert not any(one.startswith(("=", "+cmd", "@")) for one in page.texts)
