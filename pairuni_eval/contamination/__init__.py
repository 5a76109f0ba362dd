"""Contamination: has a pair set shown the tests? One search for every command that says so.

A test item counts as seen if one of these holds, the first that does being how it was found:

    image      one of its images, or a near copy, is the image of an understanding half
    text       it has no image, and 13 words in a row, or a shorter text whole, are those of a
               question or a prompt
    neighbor   one of its images has a cosine above 0.95 with the image of an understanding half, in
               the features of an encoder that has looked (the file beside the set)

A unit is flagged if one of its items is. Words alone do not flag an item that has an image, since
wordings are common; they are counted. Images of generation halves serve for pairing and are never
trained on, so they flag nothing. The answer instructions of the benchmarks are left out of all
texts. What cannot be looked at (a broken image, one that no encoder saw) is counted, not passed.
"""
