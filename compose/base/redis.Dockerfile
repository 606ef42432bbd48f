# Stands in for redis:7.0-bookworm where no registry is reachable; see compose/base-images.
FROM debian:bookworm-slim
RUN groupadd --system --gid 999 redis \
    && useradd --system --gid redis --uid 999 --no-create-home --home-dir /data redis \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends redis-server redis-tools \
    && rm -rf /var/lib/apt/lists/* /etc/redis /var/log/* \
    && install --directory --owner redis --group redis /data
VOLUME /data
WORKDIR /data
COPY redis-entrypoint /usr/local/bin/docker-entrypoint.sh
ENTRYPOINT ["docker-entrypoint.sh"]
EXPOSE 6379
CMD ["redis-server"]
