"""Settings come from the environment; `.env.example` lists and explains every one."""

import os
import re
import secrets
import tempfile
from pathlib import Path

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from journey_crm import env, logs
from journey_crm.embedded import place

ROOT = Path(__file__).resolve().parent.parent
env.read_dotenv(ROOT / ".env")

DEBUG = env.flag("DEBUG")
DATA_DIR = (ROOT / env.text("DATA_DIR", ".data")).resolve()
PORT = env.number("PORT", 8000)
BIND = env.text("BIND", "127.0.0.1")
BASE_URL = env.site(env.text("BASE_URL", f"http://localhost:{PORT}"))
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")


def _secret_key() -> str:
    """SECRET_KEY, else one made on the first start and kept, unreadable for others, in DATA_DIR."""
    if key := env.text("SECRET_KEY"):
        return key
    path = DATA_DIR / "secret-key"
    try:
        if not path.exists():
            DATA_DIR.mkdir(parents=True, exist_ok=True)
            # Written whole before it gets its name: of two processes that begin at once, both read the same key.
            with tempfile.NamedTemporaryFile("w", dir=DATA_DIR) as new:
                new.write(secrets.token_urlsafe(50))
                new.flush()
                try:
                    os.link(new.name, path)
                except FileExistsError:
                    pass
        return path.read_text()
    except OSError as error:
        raise ImproperlyConfigured(
            f"DATA_DIR: cannot use {path}: {error.strerror}. Choose another by DATA_DIR, or set SECRET_KEY."
        ) from None


SECRET_KEY = _secret_key()
SECRET_KEY_FALLBACKS = env.words("SECRET_KEY_FALLBACKS")

INSTALLED_APPS = [
    "journey_crm.apps.JourneyAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django.contrib.humanize",
    "django.forms",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "csp",
    "contacts",
    "scoring",
    "messaging",
    "growth",
    "leads",
    "campaigns",
    "insights",
    "journey_crm.apps.JourneyConfig",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "journey_crm.urls"
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"  # widgets' templates may be overridden like any other
WSGI_APPLICATION = "journey_crm.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ROOT / "journey_crm" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.debug",
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# Storage -------------------------------------------------------------------------------------------------------------


def _sockets() -> Path:
    """Where `make up` puts the sockets of its own database and broker; the folder is made if it is missing."""
    try:
        return place.socket_folder(DATA_DIR)
    except place.Refusal as refusal:
        raise ImproperlyConfigured(str(refusal)) from None


DATABASE_URL = env.text("DATABASE_URL") or f"postgres://journey@/journey?host={_sockets()}"
DATABASES = {"default": env.database(DATABASE_URL)}

CELERY_BROKER_URL = env.text("CELERY_BROKER_URL") or f"redis+socket://{_sockets()}/valkey.sock"
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_ETA_TASK_LIMIT = 100
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_TIME_LIMIT = 600
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# Without these two, work of a killed worker waits some 100 s longer than it need (kombu 5.7).
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 900,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
}

# Each process remembers for itself, for seconds, what is cheap to ask again; what is shared is in the database.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
SESSION_ENGINE = "django.contrib.sessions.backends.db"

STATIC_URL = "/static/"
STATIC_ROOT = ROOT / "static-collected"
STATICFILES_DIRS = [ROOT / "journey_crm" / "static"]
WHITENOISE_USE_FINDERS = True
# What people upload (imports): read by us, served to nobody.
MEDIA_ROOT = DATA_DIR / "files"

# Mail ----------------------------------------------------------------------------------------------------------------

EMAIL_URL = env.text("EMAIL_URL", f"maildir:{DATA_DIR}/mail")
SMS_URL = env.text("SMS_URL", f"file:{DATA_DIR}/sms")

# What comes back: `docs/bounces.md`. Without its secret each door is shut.
BOUNCE_ADDRESS = env.text("BOUNCE_ADDRESS")
if BOUNCE_ADDRESS and not re.fullmatch(r"[A-Za-z0-9._=-]{1,23}@[A-Za-z0-9.-]{1,200}", BOUNCE_ADDRESS):
    raise ImproperlyConfigured(
        "BOUNCE_ADDRESS: write it as bounces@acme.example; before @ at most 23 letters, digits, . _ = -."
    )
BOUNCES_URL = env.text("BOUNCES_URL")
BOUNCE_SECRET = env.text("BOUNCE_SECRET")
ESP_WEBHOOK_SECRET = env.text("ESP_WEBHOOK_SECRET")
ESP_WEBHOOK_SIGNING_KEY = env.text("ESP_WEBHOOK_SIGNING_KEY")
# Clicks and opens are gathered in each web process and written after so many seconds; see messaging/gathering.py.
HITS_PAUSE = 0.1

# Failpoints kill or delay the send path on purpose, to test recovery: `name:kill|raise|sleep[:seconds]`.
FAILPOINT = env.text("FAILPOINT")
if FAILPOINT and not DEBUG and not env.flag("ALLOW_FAILPOINTS"):
    raise ImproperlyConfigured("FAILPOINT is refused while DEBUG=0; set ALLOW_FAILPOINTS=1 if you mean it.")

# Outgoing webhooks never reach into our own network, unless this is set, for development.
WEBHOOK_ALLOW_PRIVATE = env.flag("WEBHOOK_ALLOW_PRIVATE")

# People and languages ------------------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("cs", _("Czech")), ("pl", _("Polish"))]
# The second holds what Django's own catalogues lack; `make messages` collects into the first.
LOCALE_PATHS = [ROOT / "locale", ROOT / "locale" / "django"]
TIME_ZONE = env.text("TIME_ZONE", "Europe/Prague")
USE_TZ = True
USE_I18N = True
FORMAT_MODULE_PATH = ["journey_crm.formats"]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "/admin/login/"
LOGIN_REDIRECT_URL = "/admin/"

# Safety --------------------------------------------------------------------------------------------------------------

_HTTPS = BASE_URL.startswith("https://")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.flag("BEHIND_PROXY") else None
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _HTTPS
SESSION_COOKIE_HTTPONLY = True
SECURE_HSTS_SECONDS = 31_536_000 if _HTTPS else 0
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "SAMEORIGIN"
CSRF_TRUSTED_ORIGINS = [BASE_URL]
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "frame-ancestors": [SELF],
        "form-action": [SELF],
    }
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 32 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 10_000

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["contacts.tokens.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["contacts.tokens.HasScope"],
    "DEFAULT_THROTTLE_CLASSES": ["contacts.throttling.TokenThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["contacts.wire.OrjsonRenderer"],
    "DEFAULT_PARSER_CLASSES": ["contacts.wire.OrjsonParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "contacts.problems.problem",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    # Moments go to the renderer as they are: it writes them in UTC. OPTIONS tells nothing; the schema does.
    "DATETIME_FORMAT": None,
    "DATE_FORMAT": None,
    "DEFAULT_METADATA_CLASS": None,
    # What is answered is said by Accept; `format` is an export's own parameter.
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Journey CRM",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "journey_crm.apidocs.anything_may_be_null",
    ],
}

logs.configure()
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"()": "journey_crm.logs.Discreet", "format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
