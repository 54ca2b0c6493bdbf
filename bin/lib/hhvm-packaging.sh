# shellcheck shell=bash
# Sourced by the scripts in bin/ and jobs/, never run. Keeps to bash 3.2 and
# POSIX tools where a person's macOS may run it.

# A fixed collation: [0-9] means ten characters and sorting is by byte.
export LC_ALL=C
# cd prints and goes elsewhere with it.
unset CDPATH

# Read by the scripts that source this file.
# shellcheck disable=SC2034
packaging_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

die() {
  printf '%s: error: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# The comment at the top of the calling script is its usage text.
usage() {
  sed -n '2,/^[^#]/ { /^[^#]/d; s/^# \{0,1\}//; p; }' "$0"
}

help_if_asked() {
  case "${1-}" in
    -h | --help)
      usage
      exit 0
      ;;
  esac
}

require_env() {
  local name
  for name in "$@"; do
    [ -n "${!name-}" ] || die "$name is not set; see $0 --help"
  done
}

is_real_date() { # YEAR MONTH DAY, digits only
  local year=$((10#$1)) month=$((10#$2)) day=$((10#$3)) days=31
  case $month in
    4 | 6 | 9 | 11) days=30 ;;
    2)
      days=28
      if ((year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))); then days=29; fi
      ;;
  esac
  ((year >= 1 && month >= 1 && month <= 12 && day >= 1 && day <= days))
}

# Sets what follows from a version: IS_NIGHTLY, PACKAGE, SOURCE (the source
# tarball's name without .tar.gz) and, for a release, TAG and BRANCH.
# shellcheck disable=SC2034
parse_version() {
  # Y and Z from 1 to 9 may be padded: see release.py, which reads the same.
  local number='(0[1-9]?|[1-9][0-9]{0,4})'
  local release="^(0|[1-9][0-9]{0,2})\\.$number\\.$number\$"
  local nightly='^([0-9]{4})\.([0-9]{2})\.([0-9]{2})$'
  if [[ $1 =~ $release ]]; then
    IS_NIGHTLY=false PACKAGE=hhvm
    TAG=HHVM-$1 BRANCH=HHVM-${BASH_REMATCH[1]}.${BASH_REMATCH[2]}
  elif [[ $1 =~ $nightly ]] &&
    is_real_date "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" "${BASH_REMATCH[3]}"; then
    IS_NIGHTLY=true PACKAGE=hhvm-nightly TAG='' BRANCH=''
  else
    die "VERSION $(printf %q "$1") is neither a release (X.Y.Z) nor a nightly (a real date, YYYY.MM.DD)"
  fi
  SOURCE=$PACKAGE-$1
}

# Whether two texts are one version: compared number by number, 26.09.29 is 26.9.29.
is_same_version() { # A B
  local form='^([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})$' a
  [[ $1 =~ $form ]] || return 1
  a=$((10#${BASH_REMATCH[1]})).$((10#${BASH_REMATCH[2]})).$((10#${BASH_REMATCH[3]}))
  [[ $2 =~ $form ]] || return 1
  [ "$a" = "$((10#${BASH_REMATCH[1]})).$((10#${BASH_REMATCH[2]})).$((10#${BASH_REMATCH[3]}))" ]
}

# Whether a word of the line is the version, however it is padded. A word of
# its own: 1.0.0-dev is not 1.0.0.
says_version() { # LINE VERSION
  local word words
  read -r -a words <<<"$1"
  for word in ${words[@]+"${words[@]}"}; do
    if is_same_version "$word" "$2"; then return; fi
  done
  return 1
}

# Prints every spelling of a version that is allowed, its own first, one a line.
spellings() { # VERSION
  local major minor patch y z ys zs
  printf '%s\n' "$1"
  IFS=. read -r major minor patch <<<"$1"
  # A nightly has one spelling.
  if [ ${#major} -ge 4 ]; then return; fi
  ys=("$((10#$minor))") zs=("$((10#$patch))")
  if ((ys >= 1 && ys <= 9)); then ys+=("0${ys[0]}"); fi
  if ((zs >= 1 && zs <= 9)); then zs+=("0${zs[0]}"); fi
  for y in "${ys[@]}"; do
    for z in "${zs[@]}"; do
      if [ "$major.$y.$z" != "$1" ]; then printf '%s\n' "$major.$y.$z"; fi
    done
  done
}

# Sets VERSION to that of the source tarball in a directory that it means: in
# the tarball's spelling if VERSION is set; else tonight's nightly if it is
# there, else the only one that is. Then as parse_version.
choose_source() { # DIRECTORY
  local file version known=() spelled=()
  if [ -n "${VERSION+set}" ]; then parse_version "$VERSION"; fi
  for file in "$1"/hhvm-*.tar.gz; do
    version=${file##*/hhvm-} version=${version#nightly-} version=${version%.tar.gz}
    if [ ! -f "$file" ] || ! (parse_version "$version" && [ "$file" = "$1/$SOURCE.tar.gz" ]) 2>/dev/null; then
      continue
    fi
    known+=("$version")
    if is_same_version "$version" "${VERSION-}"; then spelled+=("$version"); fi
  done
  if [ -n "${VERSION+set}" ]; then
    case ${#spelled[@]} in
      0) die "$VERSION: no $1/$SOURCE.tar.gz; run VERSION=$VERSION bin/make-source-tarball first" ;;
      1) ;;
      *) die "VERSION $VERSION: $1 has one release as ${spelled[0]} and as ${spelled[1]}; delete the source tarball that is not spelled as its tag" ;;
    esac
    if [ "$VERSION" != "${spelled[0]}" ]; then
      printf '%s\n' "$VERSION is the release ${spelled[0]}, by its source tarball in $1" >&2
      VERSION=${spelled[0]}
    fi
  elif [ -f "$1/hhvm-nightly-$(todays_nightly).tar.gz" ]; then
    VERSION=$(todays_nightly)
  else
    case ${#known[@]} in
      0) die "no source tarball in $1; run bin/make-source-tarball first" ;;
      1) VERSION=${known[0]} ;;
      *) die "VERSION is not set, and $1 has several source tarballs; set VERSION to one of: ${known[*]}" ;;
    esac
  fi
  export VERSION
  parse_version "$VERSION"
}

todays_nightly() {
  date -u +%Y.%m.%d
}

# Git sets these for the hooks that it runs: there they name another repository.
forget_callers_repository() {
  # shellcheck disable=SC2046
  unset $(git rev-parse --local-env-vars)
}

is_commit() {
  [[ $1 =~ ^[0-9a-f]{40}$ ]]
}

# The grammar of distros/. plugins/hhvm_packaging/distros.py has the same one;
# tests/unit/test_distro_grammar.py holds the two together.
distro_grammar='^[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*-[0-9]+(\.[0-9]+)*(-[a-z]+)?$'
image_grammar='^([a-zA-Z0-9][a-zA-Z0-9.-]*(:[0-9]+)?/)?'
image_grammar+='[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)*'
image_grammar+='(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$'
codename_grammar='^[a-z]+$'
revision_grammar='^[1-9][0-9]*~[a-z]+$'
profiles_grammar='^[a-z0-9][a-z0-9+.-]*( [a-z0-9][a-z0-9+.-]*)*$'

# The directories of distros/ that are distributions: those with a DOCKER_BASE.
distros() {
  local directory name
  for directory in "$packaging_root"/distros/*; do
    name=${directory##*/}
    if [[ $name =~ $distro_grammar && ! -L $directory && (-e $directory/DOCKER_BASE || -L $directory/DOCKER_BASE) ]]; then
      printf '%s\n' "$name"
    fi
  done
}

# Sets found to where a path of the packaging files leads, links followed as in
# a build container; fails if that is nowhere or elsewhere.
find_file() { # PATH, relative to packaging_root
  local rest=$1/ at='' part target followed=0
  while [ -n "$rest" ]; do
    part=${rest%%/*} rest=${rest#*/}
    case $part in
      '' | .) continue ;;
      ..)
        [ -n "$at" ] || return 1
        at=${at%/*}
        continue
        ;;
    esac
    if [[ $at == '' && $part != bin && $part != distros ]]; then
      [[ -d $packaging_root/distros/$part && ! -L $packaging_root/distros/$part ]] || return 1
      at=/distros
    fi
    if [ ! -L "$packaging_root$at/$part" ]; then
      at+=/$part
      [[ -e $packaging_root$at && (-z $rest || -d $packaging_root$at) ]] || return 1
      continue
    fi
    followed=$((followed + 1))
    [ "$followed" -le 40 ] || return 1
    target=$(readlink "$packaging_root$at/$part")
    case $target in
      /opt/hhvm-packaging | /opt/hhvm-packaging/*) at='' target=${target#/opt/hhvm-packaging} ;;
      /*) return 1 ;;
    esac
    rest=$target/$rest
  done
  found=$packaging_root$at
}

# Sets line to a file's one line. What editors and other systems add is refused,
# as it would become a part of a name.
read_line() { # FILE NAME GRAMMAR MEANING
  [ -f "$1" ] || die "$2 is not there, or is not a file"
  line=''
  IFS= read -r line <"$1" || true
  if [[ ${#line} -le 255 && $line =~ $3 ]] &&
    { printf '%s\n' "$line" | cmp -s - "$1" || printf '%s' "$line" | cmp -s - "$1"; }; then return; fi
  die "$2 must be one line with $4, and nothing else: no spaces, no line ends of Windows; it begins with $(printf %q "${line:0:100}")"
}

# Sets distro_dir and docker_base for a DISTRO_ID.
# shellcheck disable=SC2034
read_distro() {
  local known
  known=$(distros | tr '\n' ' ')
  [[ $1 =~ $distro_grammar && " $known" == *" $1 "* ]] ||
    die "unknown distribution $(printf %q "$1"); known: $known"
  distro_dir=$packaging_root/distros/$1
  find_file "distros/$1/DOCKER_BASE" ||
    die "$1: DOCKER_BASE is a link that does not lead to a file of distros/ or bin/"
  read_line "$found" "$1: DOCKER_BASE" "$image_grammar" "the name of a Docker image, such as debian:stretch"
  docker_base=$line
}

# Sets distribution, pkgver and build_profiles for a directory of a Debian-like
# distribution.
# shellcheck disable=SC2034
read_release() { # DIRECTORY
  read_line "$1/DISTRIBUTION" DISTRIBUTION "$codename_grammar" "a codename in small letters, such as stretch"
  distribution=$line
  read_line "$1/PKGVER" PKGVER "$revision_grammar" "N~$distribution, N a number without leading zeros"
  pkgver=$line
  # One that was copied from another distribution would publish one file name twice.
  [ "${pkgver#*~}" = "$distribution" ] ||
    die "PKGVER must be N~$distribution, as DISTRIBUTION says; it says $pkgver"
  build_profiles=''
  if [[ -e $1/BUILD_PROFILES || -L $1/BUILD_PROFILES ]]; then
    read_line "$1/BUILD_PROFILES" BUILD_PROFILES "$profiles_grammar" "build profiles, one space between two"
    build_profiles=$line
  fi
}

# Sets confinement to the options for a container that runs what is not ours. Its
# root owns files and becomes other users, as apt, dpkg and debhelper need it to,
# and no more: no devices, no raw packets, and nothing that it starts gains
# privileges. What it prints is passed on, and not kept by the engine as well.
#
# HHVM_MEMORY  in Docker's form, such as 8g, or none (default: seven eighths of
#              the engine's, so that the engine and its neighbours have the rest)
# HHVM_PIDS    how many processes and threads, or none (default: 16384)
# HHVM_CGROUP  if set, the cgroup that containers are below
set_confinement() {
  local capability memory=${HHVM_MEMORY:-} pids=${HHVM_PIDS:-16384}
  confinement=(--init --log-driver none --security-opt no-new-privileges --cap-drop ALL)
  for capability in CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID; do
    confinement+=(--cap-add "$capability")
  done
  if [ -z "$memory" ]; then
    memory=$(docker info --format '{{.MemTotal}}' 2>/dev/null) || memory=0
    if [[ $memory =~ ^[1-9][0-9]*$ ]]; then memory=$((memory * 7 / 8)); else memory=none; fi
  fi
  if [ "$memory" != none ]; then confinement+=(--memory "$memory"); fi
  if [ "$pids" != none ]; then confinement+=(--pids-limit "$pids"); fi
  if [ -n "${HHVM_CGROUP-}" ]; then confinement+=(--cgroup-parent "$HHVM_CGROUP"); fi
}

# Prints the id of an image, which is fetched if the engine does not have it.
find_image() { # NAME
  if ! docker image inspect --format '{{.Id}}' "$1" 2>/dev/null; then
    docker pull --quiet "$1" >&2 || die "Docker cannot pull the image $1; see its message above"
    docker image inspect --format '{{.Id}}' "$1"
  fi
}

# What every container of ours is given; fills the array container_options.
set_container_options() {
  set_confinement
  container_options=("${confinement[@]}")
  # Whoever started the job finds and removes all its containers by this label.
  if [ -n "${HHVM_JOB-}" ]; then container_options+=(--label "hhvm.job=$HHVM_JOB"); fi
  # And whose job it is, where several share an engine.
  if [ -n "${HHVM_WORK-}" ]; then container_options+=(--label "hhvm.work=$HHVM_WORK"); fi
  choose_network
  container_options+=(--network "$network")
}

# Sets network to HHVM_DOCKER_NETWORK, or to the one that jobs have for
# themselves, which is made if it is missing: a bridge, whose containers reach
# neither each other nor what listens on this machine's 127.0.0.1.
# plugins/hhvm_packaging/workers/docker.py makes the same.
choose_network() {
  network=${HHVM_DOCKER_NETWORK:-hhvm-jobs}
  if [ -n "${HHVM_DOCKER_NETWORK-}" ]; then return; fi
  for _ in 1 2 3 4 5; do
    if docker network inspect hhvm-jobs >/dev/null 2>&1 ||
      docker network create --driver bridge --opt com.docker.network.bridge.enable_icc=false \
        --opt com.docker.network.bridge.name=hhvm-jobs hhvm-jobs >/dev/null; then return; fi
    # Another process may be about to make it.
    sleep 1
  done
  die "there is no network hhvm-jobs, and Docker cannot make it; see its message above"
}

# The three mounts that a distribution's make-package relies on, after
# read_distro. Links between directories of distros/ lead there where they lead
# here: relative ones, and those to /opt/hhvm-packaging/OTHER, the directory
# OTHER of distros/. So two of the mounts are directories of links.
add_package_mounts() { # OUT
  local path name
  set_throwaway_traps
  # In the jobs of a Docker worker, TMPDIR is where its engine sees it too.
  staged=$(mktemp -d "${TMPDIR:-/tmp}/hhvm-packaging.XXXXXX")
  mkdir -p "$staged/packaging/bin" "$staged/packaging/distros" "$staged/distro"
  for path in "$packaging_root"/distros/*/; do
    name=$(basename "$path")
    if [[ ! -L ${path%/} && $name != bin && $name != distros ]]; then
      ln -s "distros/$name" "$staged/packaging/$name"
    fi
  done
  for path in "$distro_dir"/* "$distro_dir"/.[!.]*; do
    if [[ -e $path || -L $path ]]; then
      ln -s "/opt/hhvm-packaging/distros/${path#"$packaging_root"/distros/}" "$staged/distro/"
    fi
  done
  chmod -R a+rX "$staged"
  container_options+=(
    --mount "type=bind,source=$1,target=/var/out"
    --mount "type=bind,source=$staged/packaging,target=/opt/hhvm-packaging,readonly"
    --mount "type=bind,source=$packaging_root/bin,target=/opt/hhvm-packaging/bin,readonly"
    --mount "type=bind,source=$packaging_root/distros,target=/opt/hhvm-packaging/distros,readonly"
    --mount "type=bind,source=$staged/distro,target=/opt/hhvm-distro-packaging,readonly"
  )
}

# Runs `docker run`'s arguments in a container that is gone afterwards, also
# when this shell is told to stop; returns the command's status. If the kernel
# killed a process in it for lack of memory, says so, and leaves the file
# HHVM_OOM_MARK.
#
# Not `docker run`: bash acts on a signal only between commands, so the
# container's id is known before anything can interrupt, and only then awaited.
run_throwaway_container() {
  local status=0
  set_throwaway_traps
  throwaway=$(docker create "$@") ||
    die "Docker could not make the container; see its message above. A limit that this engine cannot set is left out by HHVM_MEMORY=none, HHVM_PIDS=none (in Airflow: the setting container_limits)"
  docker start --attach "$throwaway" </dev/null &
  wait "$!" || status=$?
  if lacked_memory "$status"; then
    printf '%s\n' "a container ran out of memory: the kernel killed a process in it" >&2
    if [ -n "${HHVM_OOM_MARK-}" ]; then : >"$HHVM_OOM_MARK"; fi
  fi
  remove_throwaway_container
  return "$status"
}

# Whether the kernel killed a process in the container, which has ended. The engine may hear of that a moment
# after the end, so of a container that failed it is asked again. It may never hear of a process that was killed
# in the container's first or last moment.
lacked_memory() { # STATUS
  local pause
  for pause in 0.1 0.3 0.6 ''; do
    if [ "$(docker inspect --format '{{.State.OOMKilled}}' "$throwaway" 2>/dev/null)" = true ]; then return; fi
    if [ "$1" -eq 0 ] || [ -z "$pause" ]; then return 1; fi
    sleep "$pause"
  done
}

set_throwaway_traps() {
  throwaway=''
  trap 'remove_throwaway_container; remove_staged' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

remove_throwaway_container() {
  if [ -n "$throwaway" ]; then
    docker rm --force "$throwaway" >/dev/null || true
    throwaway=''
  fi
}

remove_staged() {
  if [ -n "${staged-}" ]; then rm -rf "$staged"; fi
}
