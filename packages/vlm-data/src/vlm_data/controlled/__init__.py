"""Controlled settings: images in which a feature that means nothing is tied to one class, as strongly as wanted."""

from vlm_data.controlled.building import build_settings as build_settings
from vlm_data.controlled.setting import Setting as Setting
from vlm_data.controlled.setting import load_setting as load_setting
from vlm_data.controlled.setting import setting_of as setting_of
