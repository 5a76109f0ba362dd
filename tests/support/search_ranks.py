"""A search for neighbors as one of several ranks: `python -m support.search_ranks STAGES`.

STAGES holds `job.json`, a `SearchJob`. Waves and parts are short, so that a few hundred images make
many. The first rank writes the pairs into `pairs.json`; how it is among how many stands in the
environment, as a launcher leaves it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from pairuni_eval.toolkit.ranks import RankGroup, ranks_here
from pairuni_train.pair_data import search_waves
from pairuni_train.pair_data.search_job import SearchJob, SearchLeader, help_build

PART, WAVE = 20, 90
THRESHOLD = 0.6


def main() -> None:
    """Search."""
    stages = Path(sys.argv[1])
    search_waves.PART, search_waves._LEAST = PART, WAVE
    with RankGroup(ranks_here(os.environ), os.environ) as group:
        if not group.ranks.first:
            help_build(stages, group)
            return

        def work() -> None:
            job = msgspec.json.decode((stages / "job.json").read_bytes(), type=SearchJob)
            search = job.search(stages)
            ids_U = [f"u{row:05d}" for row in range(len(search.features_UD))]
            leader = SearchLeader(stages, group)
            found = leader.run(job, ids_U, threshold=THRESHOLD, done=lambda _: None)
            (stages / "pairs.json").write_bytes(msgspec.json.encode(found.matches))

        group.lead(work)


if __name__ == "__main__":
    main()
