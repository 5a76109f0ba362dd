"""How politely does the model greet?"""
