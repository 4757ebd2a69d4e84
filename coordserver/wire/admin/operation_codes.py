"""The four letters under which ZooKeeper's `cons` and AdminServer name a connection's last operation (Request.op2String
shortened as ServerCnxn shows it)."""

from __future__ import annotations

from coordserver.core.model.operations import Op

NOTHING = "NA"

CODES: dict[int, str] = {
    int(Op.CREATE_SESSION): "SESS",
    int(Op.CLOSE_SESSION): "CLOS",
    int(Op.PING): "PING",
    int(Op.MULTI): "MULT",
    int(Op.MULTI_READ): "MLTR",
    int(Op.CREATE): "CREA",
    int(Op.CREATE2): "CREA",
    int(Op.CREATE_CONTAINER): "CREA",
    int(Op.CREATE_TTL): "CREA",
    int(Op.DELETE): "DELE",
    int(Op.DELETE_CONTAINER): "DELE",
    int(Op.SET_DATA): "SETD",
    int(Op.SYNC): "SYNC",
    int(Op.CHECK): "CHEC",
    int(Op.EXISTS): "EXIS",
    int(Op.GET_DATA): "GETD",
    int(Op.SET_WATCHES): "SETW",
    int(Op.SET_WATCHES2): "STW2",
    int(Op.ADD_WATCH): "ADDW",
    int(Op.GET_ACL): "GETA",
    int(Op.SET_ACL): "SETA",
    int(Op.GET_CHILDREN): "GETC",
    int(Op.GET_CHILDREN2): "GETC",
    int(Op.GET_ALL_CHILDREN_NUMBER): "GETACN",
    int(Op.GET_EPHEMERALS): "GETE",
    int(Op.CHECK_WATCHES): "CHKW",
    int(Op.REMOVE_WATCHES): "REMW",
    int(Op.WHO_AM_I): "HOMI",
}


def code_of(op: int) -> str:
    """NA for what has no code."""
    return CODES.get(op, NOTHING)
