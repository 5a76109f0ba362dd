"""POPE: does the model say that something is in the image which is not?"""
