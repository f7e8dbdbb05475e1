# shellcheck shell=bash disable=SC2154
# Other people's web servers, over TLS, with PUT where they have it. To be sourced by transfers.

# Each of these becomes its server, in the foreground, on port $1, with what it writes in directory $2.
# Folders below `origin` are what they serve; in `NAME` of it they may write.
run_nginx() {
    cat >"$2/conf" <<END
daemon off;
$([ "$(id -u)" != 0 ] || echo "user $(id -un);")
worker_processes 1;
pid $2/pid;
error_log $2/error;
events { }
http {
    access_log off;
    client_body_temp_path $2/body;
    proxy_temp_path $2/proxy;
    fastcgi_temp_path $2/fastcgi;
    uwsgi_temp_path $2/uwsgi;
    scgi_temp_path $2/scgi;
    client_max_body_size 0;
    server {
        listen 127.0.0.1:$1 ssl;
        root $work/origin;
        ssl_certificate $work/server.pem;
        ssl_certificate_key $work/server.key;
        location /nginx/ {
            dav_methods PUT MKCOL;
        }
    }
}
END
    exec nginx -c "$2/conf" -p "$2" -e "$2/error"
}

run_apache() {
    local module
    cat >"$2/conf" <<END
ServerRoot $2
ServerName localhost
PidFile $2/pid
ErrorLog $2/error
$([ "$(id -u)" != 0 ] || echo "User nobody")
$(for module in mpm_event authz_core dir ssl dav dav_fs; do
    echo "LoadModule ${module}_module /usr/lib/apache2/modules/mod_$module.so"
done)
DavLockDB $2/locks
Listen 127.0.0.1:$1
DocumentRoot $work/origin
SSLEngine on
SSLCertificateFile $work/server.pem
SSLCertificateKeyFile $work/server.key
<Directory $work/origin/apache>
    Dav On
</Directory>
END
    exec apache2 -DFOREGROUND -f "$2/conf"
}

run_lighttpd() {
    cat >"$2/conf" <<END
server.modules = ("mod_openssl", "mod_webdav")
server.document-root = "$work/origin"
server.bind = "127.0.0.1"
server.port = $1
server.errorlog = "$2/error"
server.upload-dirs = ("$2")
index-file.names = ("index.html")
# What has no type has no validator either.
mimetype.assign = ("" => "application/octet-stream")
ssl.engine = "enable"
ssl.pemfile = "$work/server.pem"
ssl.privkey = "$work/server.key"
\$HTTP["url"] =~ "^/lighttpd/" {
    webdav.activate = "enable"
}
END
    exec lighttpd -D -f "$2/conf"
}

# Debian's Caddy has no PUT.
run_caddy() {
    cat >"$2/conf" <<END
{
    admin off
    auto_https off
}
https://localhost:$1 {
    bind 127.0.0.1
    tls $work/server.pem $work/server.key
    root * $work/origin
    file_server
}
END
    exec env XDG_DATA_HOME="$2" XDG_CONFIG_HOME="$2" caddy run --config "$2/conf" --adapter caddyfile
}

run_dufs() {
    exec dufs --bind 127.0.0.1 --port "$1" --allow-upload --render-index --tls-cert server.pem --tls-key server.key \
        "$work/origin"
}

run_python() {
    cd "$work/origin" || exit
    exec python3 "$root/scripts/clients/plain.py" "$work/server.pem" "$work/server.key"
}

# start_origin NAME starts one; its port goes into NAME.port. Somebody else may take the port first.
start_origin() {
    local name=$1 at
    for _ in 1 2 3; do
        rm -rf "$name" "origin/$name"
        mkdir "$name" "origin/$name"
        # Whoever it runs as.
        chmod 777 "$name" "origin/$name"
        at=$(python3 -c 'import socket
with socket.socket() as one:
    one.bind(("127.0.0.1", 0))
    print(one.getsockname()[1])')
        "run_$name" "$at" "$work/$name" >"$name/log" 2>"$name/errors" &
        servers+=($!)
        for _ in $(seq 100); do
            kill -0 "${servers[-1]}" 2>/dev/null || break
            # This one takes a port by itself.
            [ "$name" != python ] || at=$(cat "$name/log")
            if [ -n "$at" ] && [ "$(curl -s --cacert "$ca" "https://localhost:$at/folder/index.html")" = index ]; then
                echo "$at" >"$name.port"
                return 0
            fi
            sleep 0.1
        done
        kill "${servers[-1]}" 2>/dev/null || true
        unset 'servers[-1]'
    done
    die "$name does not start: $(cat "$name/log" "$name/errors" "$name/error" 2>/dev/null | tail -3)"
}

# origin_version NAME
origin_version() {
    case "$1" in
    nginx) nginx -v 2>&1 | sed 's|.*nginx/||' ;;
    apache) apache2 -v | sed -n '1s|.*Apache/\([^ ]*\).*|\1|p' ;;
    lighttpd) lighttpd -v | sed 's|lighttpd/\([^ ]*\).*|\1|' ;;
    caddy) caddy version ;;
    dufs) dufs --version | cut -d ' ' -f 2 ;;
    python) echo "$(python3 --version | cut -d ' ' -f 2)'s http.server behind TLS" ;;
    esac
}
