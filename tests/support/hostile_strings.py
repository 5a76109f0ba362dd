"""Strings that try to run or to reach out from a page, runs that bear them as names, and what shows
in a browser that one did.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from pairuni_eval.records import RunCard
from pairuni_eval.store import layout
from pairuni_eval.store.read import StoredRun
from pairuni_eval.store.write import write_record
from support import example_run as example

# {run} marks the string as having run, {url} would ask for a page of its own.
PAYLOADS = (
    "<script>{run}</script>",
    "</script><script>{run}</script>",
    "</SCRIPT ><ScRiPt>{run}</sCrIpT>",
    "<!--<script>{run}</script>",
    "--><script>{run}</script>",
    "<![CDATA[<script>{run}</script>]]>",
    "]]><script>{run}</script>",
    "</style><script>{run}</script>",
    "</textarea></title><script>{run}</script>",
    "</svg><script>{run}</script>",
    "\\u003c/script\\u003e\\u003cscript\\u003e{run}",
    "\u2028{run}//\u2029",
    "';{run};//",
    '";{run};//',
    "`${{{run}}}`",
    '"}}];{run};[{{"',
    '\\";{run};//',
    "<img src=x onerror={run}>",
    '"><img src=x onerror="{run}">',
    "'><img src=x onerror='{run}'>",
    "<img src={url}>",
    '<img srcset="{url} 2x">',
    "<svg onload={run}>",
    "<svg><script href={url} /></svg>",
    "<svg><image href={url} /></svg>",
    "<svg><animate onbegin={run} attributeName=x dur=1s>",
    "<math><mtext><img src=x onerror={run}></mtext></math>",
    "<body onload={run}>",
    "<input autofocus onfocus={run}>",
    "<details open ontoggle={run}>",
    "<video src={url} onerror={run}></video>",
    "<audio src={url} autoplay></audio>",
    "<iframe src={url}></iframe>",
    '<iframe srcdoc="<script>{run}</script>"></iframe>',
    "<object data={url}></object>",
    "<embed src={url}>",
    "<link rel=stylesheet href={url}>",
    "<link rel=prefetch href={url}>",
    "<base href={url}>",
    '<meta http-equiv=refresh content="0;url={url}">',
    "<style>@import '{url}';</style>",
    "<style>body{{background:url({url})}}</style>",
    "<div style=\"background:url('{url}')\">x</div>",
    "<a href=javascript:{run}>x</a>",
    "[x](javascript:{run})",
    "![x]({url})",
    "<form action={url}><button autofocus>x</button></form>",
    "{{{{ ''.__class__ }}}} {{% include 'x' %}} {{# {run} #}}",
    "&lt;script&gt;{run}&lt;/script&gt;&#60;script&#62;{run}",
    "\u202e<script>{run}</script>\x00\x1b[31m",
)
PLACES = 4  # every payload in every kind of place: 50 * 4 = 200 strings


def strings() -> Iterator[str]:
    """Each with a number of its own, so that whatever ran says which it was."""
    for place in range(PLACES):
        for n, payload in enumerate(PAYLOADS):
            number = place * len(PAYLOADS) + n
            run = f"(top.ran=top.ran||[]).push({number})"
            yield f"#{number} " + payload.format(run=run, url=f"http://evil.test/{number}")


STRINGS = list(strings())
NAMES = STRINGS[: len(PAYLOADS)]

# Elements of a page that can only have come from such a string.
FOREIGN = """
const named = 'script iframe object embed link base meta[http-equiv=refresh] video audio form';
const inside = named.split(' ').flatMap(one => [...document.querySelectorAll('main ' + one)]);
const odd = [...document.querySelectorAll('*')].filter(one =>
  [...one.attributes].some(a => a.name.startsWith('on') || /^\\s*javascript:/i.test(a.value)));
return [...inside, ...odd].map(one => one.outerHTML.slice(0, 80));
"""
WAIT = "return new Promise(done => setTimeout(done, 100))"
RAN = "return top.ran || []"


def rename_run(run: Path, name: str, words: str) -> StoredRun:
    """Put strings where a run names itself, its checkpoint and its machine."""
    card = msgspec.json.decode((run / layout.RUN_FILE).read_bytes(), type=RunCard)
    checkpoint = msgspec.structs.replace(card.checkpoint, name=words, recipe=words)
    named = msgspec.structs.replace(
        card, name=name, checkpoint=checkpoint, environment={words: words}, command=words
    )
    write_record(run / layout.RUN_FILE, named)
    return StoredRun(example.reseal(run))
