"""The event inspector: a server that receives or reads events and shows them on a web page."""
