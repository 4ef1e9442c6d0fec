# syntax=docker/dockerfile:1

# The builder's Debian is the runtime's, so that both have one glibc.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
# The target folder is a cache that does not reach the image: what is installed is copied out of it.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    make dist && cp -a target/dist /dist

# No shell, no package manager, no root.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /dist/ /
# Mount your own configuration and certificates here, read-only:
#   docker run --read-only -v "$PWD/respgate:/etc/respgate:ro" -p 6380:6380 respgate
# What the image brings (config/deploy/container.toml) expects certificates in /etc/respgate/certs.
USER nonroot:nonroot
EXPOSE 6380 9181
# Kubernetes does not look at it: its probes ask /readyz and /healthz on port 9181.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s \
    CMD ["/usr/local/bin/respgate", "healthcheck", "--config", "/etc/respgate/respgate.toml"]
ENTRYPOINT ["/usr/local/bin/respgate"]
CMD ["run", "--config", "/etc/respgate/respgate.toml"]
