"""lmms-eval on both sides (extra `lmms`): its tasks on our runner, our models under its command.

`--benchmarks lmms:TASK` takes the documents, prompts, scoring and aggregation of a task from the
installed lmms-eval and everything else from here: batches, resumption, statuses, the store, the
report. `python -m lmms_eval --model pairuni` is the way back.

No module of this package imports lmms-eval, torch or datasets when it is imported: the first takes
eight seconds.
"""
