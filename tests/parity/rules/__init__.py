"""One module per benchmark: how its recorded cases become calls of ours.

A module `NAME` answers for the cases of benchmark NAME:

- `RULES`: per recorded function, a call `(input, golden folder) -> our answer`;
- `OTHERS` (optional): per function, the same for what other harnesses give for the input;
- `FORMS` (optional): per function, a pair (brings what was recorded into a comparable form, brings
  our answer into it);
- `TOLERANCES` (optional): per function, the absolute tolerance for floats instead of 1e-9.

A recorded function that no module knows fails the tests.
"""
