#!/bin/sh
# `make image`: builds the image with the first of docker, podman and buildah that works here, and says what came out.
# IMAGE is its name (sakidori:VERSION), IMAGE_BUILDER the program, IMAGE_ARGUMENTS more arguments of its `build`.
set -eu

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
name=${IMAGE:-localhost/sakidori:$version}
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
# The commit's time, so that two builds of one commit are the same.
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
created=$(date --utc --date="@$epoch" +%Y-%m-%dT%H:%M:%SZ)

works() { "$1" info >/dev/null 2>&1; }
program=${IMAGE_BUILDER:-}
for one in docker podman buildah; do
    if test -z "$program" && works "$one"; then program=$one; fi
done
if test -z "$program"; then
    cat >&2 <<'TEXT'
no image can be built here: there is no buildah, no podman, and no docker whose daemon answers. On Debian,

    apt-get install buildah

is enough; it needs no daemon. IMAGE_BUILDER names a program of your own that takes docker's arguments.
TEXT
    exit 1
fi

set -- build --tag "$name" \
    --build-arg VERSION="$version" --build-arg REVISION="$revision" \
    --build-arg CREATED="$created" --build-arg SOURCE_DATE_EPOCH="$epoch"
case $program in
*docker) export DOCKER_BUILDKIT=1 ;;
*) set -- "$@" --format oci --timestamp "$epoch" ;;
esac
echo "building $name with $program" >&2
# Words of their own, on purpose.
# shellcheck disable=SC2086
"$program" "$@" ${IMAGE_ARGUMENTS:-} .

case $program in
*buildah) "$program" images --format '{{.Name}}:{{.Tag}}  {{.Size}}  {{.Digest}}' "$name" ;;
*) "$program" image inspect --format '{{index .RepoTags 0}}  {{.Size}} bytes  {{.Id}}' "$name" ;;
esac
