"""GenEval: does the picture show the objects that the prompt names?"""
