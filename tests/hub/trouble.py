"""What a test tells the Hub to do wrong."""

import re
from dataclasses import dataclass, field


@dataclass
class Trouble:
    """Something that goes wrong with the requests whose `METHOD /path` a pattern is found in.

    Attributes:
        pattern: a regular expression.
        times: how many requests are left that it happens to.
        status: to answer with, without doing anything; None to do what was asked for.
        headers, body: of that answer; with `status` None, the body replaces the right one.
        cut_after: bytes of the answer's body after which the connection is cut; -1 to send no answer at all.
    """

    pattern: str
    times: int = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    cut_after: int | None = None

    def meets(self, request: str) -> bool:
        """Whether it happens to this request; counts it."""
        if self.times <= 0 or not re.search(self.pattern, request):
            return False
        self.times -= 1
        return True
