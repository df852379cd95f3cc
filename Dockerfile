# A static binary, and an image with little else in it: docs/image.md.

# A Debian with Rust 1.95 or newer, of the machine that the image is for (--platform). What is missing in it (OpenSSL, a C compiler, make) is installed.
ARG BUILDER=docker.io/library/rust:1.95-bookworm

FROM ${BUILDER} AS build
# The time that all files in the image have, in seconds since 1970.
ARG SOURCE_DATE_EPOCH=0
WORKDIR /src
COPY . .
RUN --mount=type=cache,id=sakidori-registry,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=sakidori-target,target=/target,sharing=locked \
    image/build.sh /target /image

FROM scratch
ARG VERSION=""
ARG REVISION=""
ARG CREATED=""
ARG SOURCE=""
LABEL org.opencontainers.image.title="sakidori" \
      org.opencontainers.image.description="Event-driven autoscaling for Kubernetes, compatible with KEDA" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"
COPY --from=build /image /
# Found by its name alone, too.
ENV PATH=/
# A number, which `runAsNonRoot` can check. There is no /etc/passwd, and nothing asks for a name.
USER 65532:65532
ENTRYPOINT ["/sakidori"]
