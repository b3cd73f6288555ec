"""stub"""


def shape_of(flow, clock):
    return None
