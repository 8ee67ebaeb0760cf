"""Tables -> charts: each function takes a table and an Axes, answers one question, and returns the Axes.

Columns are those of the files that `fit`, `propose` and `confirm` write, so each may be given a file as pandas reads it; a
column that is called optional may be missing. Units come from the table's attrs ("unit"; nats per token when missing). A
chart shows as many domains as a page has room for, and says how many it leaves out; the CSV beside a figure has all.
"""
