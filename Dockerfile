# The gateway: Envoy with the plugin and the bundled configuration. `scripts/image gateway` builds it.
#
# Run it with what the bundled configuration watches mounted where it looks for it, and the secrets in its environment:
#
#   docker run --volume "$PWD/target/policies:/gateway/target/policies:ro" --volume "$PWD/target/certs:/gateway/target/certs:ro" \
#       --env TOLLGATE_KEY_SECRET --env TOLLGATE_KEYS_LOOKUP_TOKEN --publish 10000:10000 --publish 10443:10443 tollgate
ARG ENVOY=envoyproxy/envoy:v1.40.0
FROM ${ENVOY}
WORKDIR /gateway
COPY envoy envoy
COPY target/tollgate.wasm target/tollgate.wasm
USER 65532:65532
EXPOSE 10000 10443
ENTRYPOINT ["/usr/local/bin/envoy"]
CMD ["-c", "envoy/envoy.yaml"]
