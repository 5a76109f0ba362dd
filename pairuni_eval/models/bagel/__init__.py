"""BAGEL: a mixture of two transformers that answers with words and draws by flow matching.

Written from the published formulas and shapes; no code of its authors is used. Weights have the
names of the official files, so that a folder loads as it was published and what is saved here loads
there.
"""
