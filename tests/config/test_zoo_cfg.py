"""zoo.cfg as it is: what is honoured, what is named, and what a server refuses to start on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coordserver.config.address import Address
from coordserver.config.server import ConfigError, ServerConfig
from coordserver.config.zoo_cfg import ZooCfg, load_zoo_cfg

Reads = Callable[[str], ZooCfg]


@pytest.fixture
def read(tmp_path: Path) -> Reads:
    """Read a zoo.cfg of these lines."""

    def from_text(text: str) -> ZooCfg:
        path = tmp_path / "zoo.cfg"
        path.write_text(text)
        return load_zoo_cfg(path)

    return from_text


def configured(found: ZooCfg) -> ServerConfig:
    """The settings that a server gets."""
    settings: dict[str, Any] = dict(found.settings)
    for name in ("listen", "secure_listen", "admin_listen"):
        settings[name] = tuple(map(Address.parse, settings.get(name, ())))
    for name in ("data_dir", "tls_cert", "tls_key", "tls_ca"):
        if name in settings:
            settings[name] = Path(settings[name])
    return ServerConfig(**settings)


def test_zookeepers_sample(read: Reads) -> None:
    """conf/zoo_sample.cfg: the file most servers are started with."""
    found = read("# ticks\ntickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=/var/lib/zk\nclientPort=2181\n")
    config = configured(found)
    assert (config.tick_time_ms, str(config.data_dir), config.listen) == (
        2_000,
        "/var/lib/zk",
        (Address("::", 2181),),
    )
    assert config.max_connections_per_address == 60
    assert found.ignored == ("initLimit", "syncLimit")


def test_every_key_that_is_one_setting(read: Reads) -> None:
    found = read(
        """
dataDir=/d
dataLogDir=/d
tickTime=1000
clientPort=2182
clientPortAddress=::1
secureClientPort=2281
secureClientPortAddress=127.0.0.1
maxClientCnxns=7
maxCnxns=70
minSessionTimeout=1500
maxSessionTimeout=9000
clientPortListenBacklog=33
globalOutstandingLimit=44
snapCount=5000
autopurge.snapRetainCount=9
autopurge.purgeInterval=24
preAllocSize=1024
fsync.warningthresholdms=77
jute.maxbuffer=0x3fffff
znode.container.checkIntervalMs=500
znode.container.maxNeverUsedIntervalMs=600
znode.container.maxPerMinute=8
enforceQuota=TRUE
zookeeper.DigestAuthenticationProvider.superDigest=super:hash=
zookeeper.X509AuthenticationProvider.superUser=CN=boss
4lw.commands.whitelist=stat, ruok
admin.enableServer=false
ssl.keyStore.location=/k.pem
ssl.keyStore.password=secret
ssl.trustStore.location=/t.crt
ssl.trustStore.type=PEM
forceSync=yes
extendedTypesEnabled=true
"""
    )
    assert found.ignored == ()
    config = configured(found)
    assert config.listen == (Address("::1", 2182),)
    assert config.secure_listen == (Address("127.0.0.1", 2281),)
    assert config.timeout_bounds_ms == (1_500, 9_000)
    assert (config.max_connections_per_address, config.max_connections, config.listen_backlog) == (7, 70, 33)
    assert (config.outstanding, config.snapshot_every, config.snapshots_kept) == (44, 5_000, 9)
    assert (config.segment_bytes, config.fsync_warning_ms) == (1024 * 1024, 77)
    assert (config.jute_frame_bytes, config.znode_bytes) == (0x3FFFFF, 0x3FFFFF)
    assert config.frame_bytes >= config.znode_bytes
    assert (config.container_check_ms, config.container_never_used_ms, config.container_per_check) == (500, 600, 8)
    assert (config.enforce_quota, config.super_digest, config.super_x509) == (True, "super:hash=", "CN=boss")
    assert config.fourletter_words == {"stat", "ruok"}
    assert not config.has_admin_commands
    assert (config.tls_cert, config.tls_key, config.tls_ca) == (Path("/k.pem"), Path("/k.pem"), Path("/t.crt"))
    assert (config.tls_key_password, config.tls_client_auth) == ("secret", "need")


def test_the_prefix_of_system_properties_makes_no_difference(read: Reads) -> None:
    found = read("dataDir=/d\nclientPort=1\nzookeeper.snapCount=5\nzookeeper.maxCnxns=6\n")
    assert (configured(found).snapshot_every, configured(found).max_connections) == (5, 6)


def test_numbers_by_which_zookeeper_means_its_default(read: Reads) -> None:
    found = read(
        "dataDir=/d\nclientPort=1\nminSessionTimeout=-1\nmaxSessionTimeout=-1\nmaxCnxns=0\n"
        "clientPortListenBacklog=-1\nmaxClientCnxns=0\n"
    )
    config = configured(found)
    assert config.timeout_bounds_ms == (6_000, 60_000)
    assert (config.max_connections, config.listen_backlog, config.max_connections_per_address) == (20_000, 1_024, 0)


def test_what_means_nothing_is_named_as_it_was_written(read: Reads) -> None:
    found = read(
        "dataDir=/d\nclientPort=1\ndataLogDir=/log\nforceSync=no\nskipACL=yes\nzookeeper.nio.numWorkerThreads=3\n"
        "4lw.commands.whitelist=kill,ruok,hash\nautopurge.purgeInterval=0\nreadonlymode.enabled=true\ntypo=1\n"
        "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n"
        "authProvider.x509=org.apache.zookeeper.server.auth.X509AuthenticationProvider\n"
    )
    assert set(found.ignored) == {
        *("dataLogDir", "forceSync", "skipACL", "zookeeper.nio.numWorkerThreads", "typo", "authProvider.1"),
        *("4lw.commands.whitelist=kill", "4lw.commands.whitelist=hash", "autopurge.purgeInterval"),
        "readonlymode.enabled",
    }
    assert configured(found).fourletter_words == {"ruok"}


def test_proof_that_is_demanded(read: Reads) -> None:
    """AuthenticationHelper: what is not true is false; schemes without a provider keep the server from starting."""
    demanded = "dataDir=/d\nclientPort=1\nenforce.auth.enabled=true\n"
    found = read(demanded + "enforce.auth.schemes=digest, ip\nsessionRequireClientSASLAuth=false\n")
    assert (configured(found).enforced_schemes, found.ignored) == ({"digest", "ip"}, ())
    found = read("dataDir=/d\nclientPort=1\nenforce.auth.enabled=yes\nenforce.auth.schemes=sasl\n")
    assert (configured(found).enforced_schemes, found.ignored) == (frozenset(), ())
    with pytest.raises(ConfigError, match=r"enforce\.auth\.schemes"):
        read(demanded)
    with pytest.raises(ConfigError, match="enforce_auth: no such schemes: sasl"):
        configured(read(demanded + "enforce.auth.schemes=digest,sasl\n"))
    with pytest.raises(ConfigError, match="enforce_auth: x509 needs tls_ca"):
        configured(read(demanded + "enforce.auth.schemes=x509\n"))
    with pytest.raises(ConfigError, match="sessionRequireClientSASLAuth: there is no SASL here"):
        read("dataDir=/d\nclientPort=1\nsessionRequireClientSASLAuth=true\n")


def test_words_of_a_file_that_says_nothing_of_them_depend_on_the_address(read: Reads) -> None:
    assert configured(read("dataDir=/d\nclientPort=1\n")).fourletter_words == {"srvr", "ruok", "isro"}
    local = configured(read("dataDir=/d\nclientPort=1\nclientPortAddress=127.0.0.1\n"))
    assert "wchc" in local.fourletter_words
    assert "wchc" in configured(read("dataDir=/d\nclientPort=1\n4lw.commands.whitelist=*\n")).fourletter_words


def test_admin_server_and_prometheus_listen_where_the_file_says(read: Reads) -> None:
    found = read(
        "dataDir=/d\nclientPort=1\nadmin.serverPort=8080\nadmin.serverAddress=127.0.0.1\n"
        "metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n"
        "metricsProvider.httpPort=7070\nmetricsProvider.exportJvmInfo=true\n"
    )
    assert configured(found).admin_listen == (Address("127.0.0.1", 8080), Address("0.0.0.0", 7070))
    assert found.ignored == ("metricsProvider.exportJvmInfo",)
    off = read("dataDir=/d\nclientPort=1\nadmin.enableServer=false\nadmin.serverPort=8080\n")
    assert configured(off).admin_listen == ()


# -- ensembles --------------------------------------------------------------------------------------------------------


def test_one_server_line_is_fine(read: Reads, tmp_path: Path) -> None:
    assert configured(read("dataDir=/d\nclientPort=1\nserver.1=localhost:2888:3888\n")).listen[0].port == 1
    with_port = read("dataDir=/d\nserver.1=h:2888:3888:participant;127.0.0.1:2183\n")
    assert configured(with_port).listen == (Address("127.0.0.1", 2183),)
    dynamic = tmp_path / "zoo.cfg.dynamic"
    dynamic.write_text("server.3=h:2888:3888;2184\n")
    assert configured(read(f"dataDir=/d\ndynamicConfigFile={dynamic}\n")).listen == (Address("::", 2184),)


@pytest.mark.parametrize("role", ["", ":participant", ":observer"])
def test_several_server_lines_refuse_to_start(read: Reads, tmp_path: Path, role: str) -> None:
    """A member started alone would split its ensemble."""
    lines = f"server.1=a:2888:3888\nserver.2=b:2888:3888{role}\n"
    dynamic = tmp_path / "dynamic"
    dynamic.write_text(lines)
    for text in (lines, f"dynamicConfigFile={dynamic}\n", f"server.7=c:1:2\ndynamicConfigFile={dynamic}\n"):
        with pytest.raises(ConfigError, match=r"zoo\.cfg: .*server\.1, server\.2.* ensemble"):
            read(f"dataDir=/d\nclientPort=1\n{text}")


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("tickTime=soon", "tickTime: 'soon' is not a number"),
        ("dynamicConfigFile=/nowhere/x", "dynamicConfigFile /nowhere/x: No such file"),
        ("ssl.keyStore.location=/k.jks", "ssl.keyStore.location /k.jks: only PEM"),
        ("ssl.keyStore.location=/k.pem\nssl.keyStore.passwordPath=/nowhere/y", "passwordPath /nowhere/y: No such file"),
        ("ssl.keyStore.location=/k.pem\nssl.trustStore.location=/t.p12", "ssl.trustStore.location /t.p12: only PEM"),
    ],
)
def test_what_is_wrong_is_named(read: Reads, line: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(f"dataDir=/d\nclientPort=1\n{line}\n")
    assert named in str(caught.value)
    assert "zoo.cfg" in str(caught.value)


def test_no_port_and_no_file(read: Reads, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither clientPort nor secureClientPort"):
        read("dataDir=/d\n")
    with pytest.raises(ConfigError, match=r"none\.cfg: No such file"):
        load_zoo_cfg(tmp_path / "none.cfg")


def test_a_password_comes_from_its_file(read: Reads, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from the file\n")
    found = read(
        f"dataDir=/d\nsecureClientPort=1\nssl.keyStore.location=/k.pem\nssl.keyStore.password=x\n"
        f"ssl.keyStore.passwordPath={tmp_path / 'password'}\nssl.clientAuth=none\n"
    )
    assert found.settings["tls_key_password"] == "from the file"
    assert (configured(found).listen, configured(found).secure_listen) == ((), (Address("::", 1),))
