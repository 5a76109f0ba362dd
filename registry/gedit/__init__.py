"""GEdit-Bench, English: edits that users really asked for, in eleven groups."""
