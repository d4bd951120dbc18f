from django.db import migrations

from django_krcard import triggers


def install(apps, schema_editor):
    triggers.install(schema_editor.connection.alias)


def remove(apps, schema_editor):
    triggers.remove(schema_editor.connection.alias)


class Migration(migrations.Migration):
    dependencies = [("krcard", "0001_initial")]

    operations = [migrations.RunPython(install, remove)]
