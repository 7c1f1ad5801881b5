from django.urls import path

from insights import views

app_name = "insights"
urlpatterns = [path("admin/insights/", views.index, name="index")]
